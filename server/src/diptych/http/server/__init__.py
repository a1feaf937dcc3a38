"""Additions to uvicorn: `connection` limits connections and request heads, `graceful_stop` bounds a shutdown.

The command line runs the application with both.
"""

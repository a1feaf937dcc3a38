"""Shared by all reports: Markdown, one HTML frame, and pictures.

In: tables, texts and pictures. Out: Markdown that reads well in a terminal, pages that need nothing else (no
script, nothing loaded from elsewhere) and contact sheets. `text` makes texts of users safe.
"""

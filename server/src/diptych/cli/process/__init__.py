"""The process of `diptych serve`: its start, its log, its limits and its end.

`server` runs the HTTP server until it is asked to stop and uses all the other modules. Read it first.
"""

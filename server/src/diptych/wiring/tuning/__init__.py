"""Measure how a loaded precision runs fastest on this machine, and keep the result for later starts.

`planning` returns a precision with its execution plan, `measuring` times layouts for it, and
`encoder_timing` times the precisions of a version against each other. Read `planning` first.
"""

"""A module or package for each group of paths: its routes, body reader, request and response models.

A route reads the request, calls one use case of core, and writes the response. Read `embed` first.
`references` and `add_models` hold what several endpoints share.
"""

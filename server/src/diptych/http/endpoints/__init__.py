"""One module for each group of paths: its routes, its body reader, its request and response models.

A route reads the request, calls one use case of core, and writes the response. Read `embed` first.
`references` and `add_models` hold what several endpoints share.
"""

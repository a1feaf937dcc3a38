"""Decide which precisions a version serves on this machine: at the start, on demand, and through TensorRT.

`trials` loads precisions and remembers how each fared, `chosen` picks those of requests and collections,
`on_demand` loads others later, `tensorrt_upgrade` replaces CUDA while it serves. Read `chosen` first.
"""

"""Load a version in the precision that it is served in, and through TensorRT.

`trials` loads precisions and remembers how each fared, `chosen` loads a named one or picks one,
`tensorrt_upgrade` replaces CUDA while it serves. Read `chosen` first.
"""

"""Load a version in the precision that it is served in, with TensorRT where its engines are there.

`trials` loads precisions and remembers how each fared, `chosen` loads a named one or picks one,
`golden_parity` measures bf16, `bf16_advice` says how to move to it, and `tensorrt` serves a precision whose
engines are there. Read `chosen` first.
"""

"""Build TensorRT plans from a version's ONNX graphs, for the GPU of this machine.

In: a published version. Out: the next version, with plans that are proven against the float32 graphs. Start
with `publish.export_plans`; `request` holds the flags and the optimisation profiles.
"""

"""Convert a float32 ONNX graph to float16 weights and activations, for GPUs.

Normalisations, softmax and index arithmetic stay in float32 (see `float32_nodes`), as do the graph's inputs
and outputs. Start with `convert.write_fp16`; `simulate` lets a CPU compute what a GPU would.
"""

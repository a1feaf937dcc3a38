"""Runs the ONNX graphs of a bundle with onnxruntime, on the CPU or a GPU: pixels or token ids in, embeddings
out.

Read `encoder` first, which opens one `tower` for images and one for texts. `session` opens a graph, `gpu_run`
runs it with buffers and CUDA graphs, `gpu_graph_rewrites` replaces operators that GPU libraries lack.
"""

"""Runs the ONNX graphs of a bundle with onnxruntime, on the CPU or a GPU: pixels or token ids in, embeddings
out.

Read `encoder` first, which opens one `tower` for images and one for texts. `session` opens a graph with the
options of `cuda_provider` and `tensorrt_provider`, `engine_cache` is the folder of TensorRT's engines, and
`tensorrt_graph` replaces operators that TensorRT's parser lacks.
"""

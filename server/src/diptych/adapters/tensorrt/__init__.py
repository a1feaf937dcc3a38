"""Builds and runs TensorRT engines: an ONNX graph in, a plan file out; a batch in, embeddings out.

Read `encoder` and `engine` first, which run plans. `build` builds them in a child process, by means of
`plan`.
"""

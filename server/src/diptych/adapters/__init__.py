"""The edge to foreign libraries and the operating system: one package for each, satisfying ports of the core.

`onnxruntime` runs encoders, `faiss` searches, `sqlite` and `files` keep the data
folder, `backup` copies it, `images` decodes, `fetching` downloads. Only `wiring` imports adapters; read a
port in `core` first, then the adapter that satisfies it.
"""

"""The edge to foreign libraries and the operating system: one package for each, satisfying ports of the core.

`onnxruntime` runs encoders, `faiss` searches, `sqlite` and `files` keep the data folder, `postgres` keeps
rows in a database server (`sql` is what both share), `backup` copies the folder, `images` decodes, `fetching`
downloads. Only `wiring` imports adapters; read a port in `core` first, then the adapter that satisfies it.
"""

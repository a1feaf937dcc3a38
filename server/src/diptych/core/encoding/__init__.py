"""Image files and texts in, unit-norm embeddings out.

A file is decoded, a text is tokenised, and both wait in a queue that forms batches for the encoder. Read
`embed` (the use case) first, then `embedder`, `batcher` and `batch_runner`. `core.serving.version` puts an
embedder together with the model that it runs.
"""

"""Image files and texts in, unit-norm embeddings out.

A file is decoded, a text is tokenised, and both wait in a queue that forms batches for the encoder. Read
`embed` (the use case) first, then `embedder`, `batcher` and `batch_runner`. `pipeline` is a
version's encoders with their queues, and `versions` shares loaded versions among their users.
"""

"""Turn shards into an endless, resumable stream of training samples.

In: shards. Out: parts of batches (pixels and token ids) with the stream's positions. Start with `loader`;
`order` decides which entry comes next, `prepare` decodes and tokenises, `worker` runs it in other processes.
"""

"""Read image-text pairs from every supported source, as shards.

In: paths, URLs and patterns. Out: `Shard` objects, whose entries are read in a fixed order. Start with
`find`, which recognises a source's format; each other module reads one format or serves those that do.
"""

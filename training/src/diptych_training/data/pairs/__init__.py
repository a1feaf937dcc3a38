"""Image-text pairs of any number, read as streams: tar shards, tables, folders, local or at a URL."""

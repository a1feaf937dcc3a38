"""What SQLite reads of the metadata of images: which pass a filter, their order, and what their fields hold.

`filters` translates a filter of `core.collections.metadata` into SQL; read it first. `filter_cache` remembers
results. All take a connection and return keys or summaries.
"""

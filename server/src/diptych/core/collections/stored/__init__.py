"""What is stored of collections: the ports of the store, ids, files, and when images are duplicates.

Everything else of collections stands on it. Read `ports` first; `collection` is one collection in memory,
with the vectors that it is searched with.
"""

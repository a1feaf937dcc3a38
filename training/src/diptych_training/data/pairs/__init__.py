"""Image-text pairs of any number, read as streams from tar shards, tables and folders, local or remote.

`pair` defines pairs and shards; start there. `sources` reads every format, `remote` opens URLs, `stream`
orders and prepares training samples, `tools` has the commands of `diptych-train data`.
"""

"""Commands on sources of pairs: `diptych-train data shards`, `pack`, `inspect` and `near-duplicates`.

In: sources of image-text pairs. Out: tar shards, a packed data set, a report, or a list of pairs to exclude.
Each command is a module; `flags` has the flags that they share.
"""

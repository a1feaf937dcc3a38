"""Move many images or rows between files and a server, for the commands that do so.

`sources` finds image files, `archives` sends a tar archive, `collection_export` and `collection_import` write
and read Parquet files. Read `sources` first.
"""

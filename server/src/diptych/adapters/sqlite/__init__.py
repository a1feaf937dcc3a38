"""Collections, images, embeddings and jobs in one SQLite file, `<data_dir>/diptych.sqlite3`.

Read `schema` first, then `store`. `threads` runs one writer and several readers; `rows`, `collections` and
`records` hold the statements; `snapshot` reads one state of the database from another process.
"""

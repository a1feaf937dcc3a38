"""Collections, images, embeddings and jobs in one SQLite file, `<data_dir>/diptych.sqlite3`.

Read `schema` first, then `store`, which makes one class for each port: `catalogue`, `row_reader`,
`row_writer` and `vector_rows` hold them with their statements, `records` what they share.
`dialect` has what another database does otherwise; `metadata` filters rows. `threads` runs one writer and
several readers; `snapshot` reads one state of the database from another process. `adapters.postgres` uses
the classes for the ports too.
"""

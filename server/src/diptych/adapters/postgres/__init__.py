"""Collections, images, embeddings and jobs in a PostgreSQL database.

The statements are those of `adapters.sqlite`, which `connection` translates. Read `dialect` first, which does
what PostgreSQL does in its own way (`filters`, `words`), then `threads`: how a connection is found again, and
`retries`: what is tried again. `vector_rows` keeps a table for each collection and identity; `schema` makes
the tables.
"""

"""Collections of images: add, list, change, delete and search.

Image files or vectors go in and are acknowledged once they are durable and searchable; queries come back as
hits. Read `service` first, then `ingest` (adding), `search` (searching), `images` (what is stored) and
`moves` (to the next snapshot). `stored.ports` names what stores and image files must provide.
"""

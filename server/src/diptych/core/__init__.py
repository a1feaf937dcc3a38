"""The domain of the server: numpy and asyncio, no foreign libraries.

Requests, already parsed, go in; embeddings, predictions, hits and outcomes come out. `ports` modules name
what the adapters must provide. Packages, bottom up: concurrency, tuning, fetching, encoding, classification,
collections, jobs. Read `services` first, then `encoding.embed`, `classification.classify` and
`collections.search`, the use cases.
"""

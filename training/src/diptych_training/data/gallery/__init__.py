"""The server's sample gallery: a held-out emoji style, and openly licensed photographs.

In: npm packages, the photographs that `data photographs` wrote, and the list `photographs.tsv`. Out: a folder
of pictures with `items.jsonl` and `ATTRIBUTION.md`. Start with `command`.
"""

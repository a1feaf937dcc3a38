"""From a query vector and words to ranked hits.

Read `nearest` first: it asks `searcher` for the candidates of each collection, and `ranking` makes one list
of them, by `fusion` where words count.
"""

"""Fetch the pictures of a collection that people reviewed in a label set, from a running server.

In: the URL of a collection, the name of a label set, and an API key. Out: a folder of pictures with their
texts, and the labels to judge by. Start with `fetch.fetch_reviewed`.
"""

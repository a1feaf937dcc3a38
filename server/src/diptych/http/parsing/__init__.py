"""Reads request bodies: bytes as they arrive in, checked JSON values, form fields and images out.

All readers enforce limits on bytes, items and time, and raise errors that name the item. Read `body` first,
then `json` and `multipart`. `request_models` is the base of the request types, `schemas` describes them.
"""

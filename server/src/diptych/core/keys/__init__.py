"""API keys: what a key is made of and allows, and the keys that a running server accepts.

`key` is pure: it makes tokens, and says what a key may do. `service` finds the key of a token, and follows
the store of the keys, which is an adapter. Read `key` first.
"""

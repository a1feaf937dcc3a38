"""The cells of a study: what is to be trained and measured, and the stored results.

In: a plan (TOML). Out: cells, each with a digest, and results as JSON files. Read `plan` first, then `cell`.
"""

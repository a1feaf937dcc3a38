"""Decisions about how a model runs on this machine, from measured times.

`precision` chooses which precision answers requests and fills collections, `execution_layout` how many
batches run at once and how large they are, and `interleaved` times the alternatives in turns.
"""

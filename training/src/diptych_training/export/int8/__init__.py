"""Quantise a float32 ONNX graph to int8 for CPUs; embeddings do not depend on other items in the batch.

In: a graph and calibration batches. Out: an int8 graph with the same signature, and an `Int8Report`. Start
with `write.write_int8`: `layers` finds what can be int8, `observe` records value ranges, and `search` finds
the fewest layers that must leave int8.
"""

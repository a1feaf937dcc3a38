"""Publish a trained run as a bundle that is proven equal to its weights.

In: a run and a packed data set. Out: the next version in a model repository: ONNX graphs in several
precisions, golden items, model card. Start with `publish.export_run`; `precisions` makes, measures and gates
each precision. `onnx`, `fp16` and `int8` write graphs, `proof` compares them, `model_card` describes them.
"""

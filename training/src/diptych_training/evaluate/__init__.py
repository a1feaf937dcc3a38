"""Evaluation: zero-shot classification and retrieval on sources that the model was not trained on.

In: a run or a bundle (`EvaluatedModel`) and a packed data set. Out: an `Evaluation`, written as tables, JSON
and PNG. Read `measure` first, then `zero_shot` and `ranking` for the metrics. `benchmark` measures on many
data sets, `calibrate` fits the relevance of search hits, `proof_set` has the pictures that bundles bring.
"""

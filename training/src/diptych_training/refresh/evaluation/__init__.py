"""Compare new weights with the old ones: on the user's held-out pairs and on the shipped set.

In: a run, the weights that it started from, and two packed data sets. Out: an `Evaluation`, the mix to keep,
and the `Changes` that a person should look at. Start with `evaluate.evaluate_mixes`.
"""

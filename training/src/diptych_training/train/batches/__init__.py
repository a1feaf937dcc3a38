"""Training batches: from packed data sets, from streams of pairs, and mixtures of both.

In: a recipe and its data. Out: a `Batch` per step, the same for the same seed and step. Read `batch` first
(what a batch is), then `training_data` (which kind of batches a recipe gets).
"""

"""Checkpoints of other libraries: published as bundles that are proven equal to them, or as the start of a
run.

In: a folder, a file of weights or a hub id, of transformers, open_clip, OpenAI's CLIP or this package. Out:
the next version in a model repository (`publish.import_checkpoint`), or a `SourceModel` that training starts
from (`source_model`). `source` picks the reader; `weight_names` converts weights between layouts.
"""

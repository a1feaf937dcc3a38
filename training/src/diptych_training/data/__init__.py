"""Training data: packed data sets, streams of image-text pairs, sampling and augmentation.

`packed` is the format that training, evaluation and export read; start there. `pictograms` builds such a data
set from npm packages, `clip_art` one from a Debian package, `pairs` streams image-text pairs from tar shards,
tables and folders.
"""

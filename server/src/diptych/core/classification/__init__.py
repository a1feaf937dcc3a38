"""Zero-shot classification: images and labels in, predictions out.

Read `classify` (the use case) first, then `label_classifier`, which turns labels into a linear classifier,
and `scoring`, which turns cosines into scores.
"""

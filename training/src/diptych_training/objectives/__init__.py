"""Training objectives: what a run learns from its pictures and captions. One file each, its source on top.

In: the features of a batch. Out: a scalar loss. Read `clip` first, then `contrastive` (what `clip`, `siglip`
and `convirt` share) and `kinds` (all of them by name). To add one, copy the file of the nearest one and name
it in `kinds`. `distillation` adds to CLIP's loss what other models answer.
"""

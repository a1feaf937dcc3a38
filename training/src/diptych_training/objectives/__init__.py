"""Training objectives: contrastive losses and distillation.

In: features of a batch before normalisation (`Pairs`). Out: a scalar loss. Read `contrastive` first. A new
loss is a new `LossKind` there.
"""

"""Prove exported graphs: compare them with the reference model on real images and texts.

In: a folder of graphs and a reference (a torch model, or a checkpoint's own library). Out: `Parity`, which is
checked against the bounds of publication. Start with `prove.prove_parity` and `parity.measure_parity`.
"""

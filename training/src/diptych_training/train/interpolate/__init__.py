"""Mixes of a fine-tuned run's weights and those that it started from (WiSE-FT).

In: a run and its start. Out: weights, or a run of their own. Read `interpolation` first.
"""

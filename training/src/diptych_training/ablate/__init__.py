"""Ablations: one recipe with one change at a time, and the effect of each change.

In: a plan (TOML) with variants of a recipe. Out: one run per variant, and a table of their results. Read
`plan` first, then `command`; model cards use `report`.
"""

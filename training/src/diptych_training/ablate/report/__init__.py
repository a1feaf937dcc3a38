"""The results of an ablation as data (`results`) and as a Markdown table (`table`).

A package of its own because model cards use it without the rest of `ablate`.
"""

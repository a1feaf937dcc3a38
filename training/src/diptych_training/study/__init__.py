"""Many runs by one plan: a study of the claims of Radford et al. 2021, and ablations of a recipe.

In: a plan (TOML) of runs and measurements, and a packed data set. Out: for a study a small JSON file for each
measured checkpoint (a cell), a page and its figures; for an ablation a run for each variant, and a table.
Read `plan` first, then `runner`, which trains and measures; `prediction` is what the law of small models says
of larger ones; `page` puts the sections of `claims`, `efficiency`, `scaling`, `prompts` and `labels` between
the marks of a page, `ablation` writes the table of an ablation.
"""

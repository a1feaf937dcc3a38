"""The study: the claims of Radford et al. 2021 measured on any packed data set, by many runs.

In: a plan (TOML) of runs and measurements. Out: a small JSON file for each measured checkpoint (a cell), a
page and its figures. Read `cells.plan` first, then `run_cells`; `report` writes the page.
"""

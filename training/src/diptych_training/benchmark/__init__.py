"""The benchmark: one model, many data sets, measured as in Radford et al. 2021, section 3.1.

In: runs or bundles (`evaluate.evaluated_model`) and data sets (`data_sets.find`). Out: a JSON file for each
model and data set, and tables. Read `measure` first: it does everything for one model and one data set.
"""

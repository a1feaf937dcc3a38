"""The benchmark: one model, many data sets, measured as in Radford et al. 2021, section 3.1.

In: runs or bundles (`evaluated_model`) and data sets (`data_sets.find`). Out: a JSON file for each model and
data set, tables and a page. Read `measure` first: it measures one model on one data set.
"""

"""Results of a benchmark as Markdown tables and as one HTML page.

In: results of all models and data sets. Out: text. `results` is how a result is stored, `summary` has the
figures that tables and page show.
"""

"""Results of a benchmark as Markdown tables and as one HTML page.

In: results of all models and data sets. Out: text. `summary` has the figures that both show, `page` the page.
"""

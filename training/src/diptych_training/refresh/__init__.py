"""Refresh the weights of a model with one's own image-text pairs: look at them, train, measure, report,
publish.

In: a folder of pairs and the model to start from. Out: a new version of the model, and a page on what was
gained and lost. Read `refresh` first: it has the stages in order, each a module or package; `ledger` records
which are done. `example` draws pictures to try it with.
"""

"""Refresh the weights of a model with one's own image-text pairs: look at them, train, judge, report.

In: a folder of pairs and the model to start from. Out: a new version of the model, and a page on what was
gained and lost. `pairs` looks at the pairs and packs them, `judge` measures the old and the new weights,
`report` writes the page; `example` draws pictures to try it with.
"""

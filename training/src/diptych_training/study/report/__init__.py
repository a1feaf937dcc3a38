"""The page of a study: for each part its tables, its figure and what they say; and the table of claims.

In: results of cells (`results`). Out: Markdown and PNGs. `page` puts them between the marks of the page; each
other module has the figures of one part.
"""

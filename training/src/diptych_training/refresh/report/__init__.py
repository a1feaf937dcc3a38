"""Tell what a refresh gained and lost: a table for the terminal, and a page that needs nothing else.

In: a `Report` (the judgement, the choice of a mix, the changes, and the data sets with the pictures). Out:
`report.md` and `report.html`. Start with `write.write_report`.
"""

"""The report on gains and losses of a refresh: Markdown, and a page in one file.

In: a `Content` (what was measured, the chosen mix, the changes, and the data sets with the pictures). Out:
`report.md` and `report.html`. Start with `report.write_report`; `content` has what it says, `cards` and
`curve` what it draws.
"""

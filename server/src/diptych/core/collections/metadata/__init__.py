"""Metadata of images: JSON that is checked, changed by patches, filtered and counted.

In: metadata as callers send it, and conditions on it. Out: checked metadata, filters, counts of values. Read
`checks` first, then `filters`.
"""

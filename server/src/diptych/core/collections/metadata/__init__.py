"""Metadata of images: JSON that is checked, patched, filtered, sorted, counted, and cut into words.

In: metadata as callers send it, and conditions on it. Out: checked metadata, filters, orders, words,
counts of values. Read `checks` first, then `filters`.
"""

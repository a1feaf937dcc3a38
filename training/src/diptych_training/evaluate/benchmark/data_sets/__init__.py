"""Data sets to benchmark on, all as one type: pictures with the classes or captions that are right for them.

In: a name or a path. Out: `DataSet`. Start with `find`, which recognises what was named; `data_set` has the
types, and each other module reads one layout.
"""

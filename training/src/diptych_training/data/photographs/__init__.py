"""Named photographs to measure models on, out of Debian's package of the learning game GCompris.

In: a Debian package. Out: folders of classes that `benchmark --on` reads. Start with `command`; the list
`gcompris.tsv` has the photographs and their names.
"""

"""Clip art of the Open Clip Art Library in the public domain, with its names and keywords, to train on.

In: a Debian package. Out: a packed data set. `command` is where to start; `names` reads what an artist says.
"""

"""Look at a person's image-text pairs, say what is wrong with them, and pack them for training.

In: sources of pairs and the model that will learn from them. Out: a packed data set with a held-out part, a
contact sheet, and a `PairsReport`. Start with `prepare.prepare_pairs`.
"""

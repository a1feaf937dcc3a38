"""Build a model out of parts that others trained, without a single image-text pair.

In: an ImageNet classifier, a sentence encoder, an image tower that knows drawings. Out: the weights that a
run starts from: an image tower, and a table of word pieces whose texts are in the space of the image tower's
classes (ConSE, Norouzi et al. 2014). Read `image_start` first.
"""

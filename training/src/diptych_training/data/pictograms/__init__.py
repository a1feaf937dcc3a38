"""Build the pictograms data set: emoji in several art styles and icon sets, with names, from npm packages.

In: the lists in `lists/`, which name packages and splits. Out: a packed data set with data card and contact
sheets. Start with `build.Builder`; `sources` turns each package into drawings, `pool` renders them.
"""

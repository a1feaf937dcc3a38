"""The calibration of a version: what makes the relevance of search hits, fitted on pictures with labels.

A version goes in; the file `<version>.calibration.npz` next to its folder comes out. Start with
`calibrate.calibrate_version`; `fit` simulates searches on labelled pictures and fits the map to them.
"""

"""The calibration of a version: what makes the relevance of search hits, fitted on pictures with labels.

A version goes in; the file `<version>.calibration.npz` beside its folder comes out. Start with
`calibrate.calibrate_version`; `searches` simulates searches on labelled pictures, `fit` fits the map to them.
"""

"""How relevant search hits are: from the calibration of a version to the probability that a hit shows.

`relevance.Relevance` is made once for a search. `diptych.bundle.calibration` has the formulas and the file.
"""

"""One icon set as a data set of its own."""

"""The pictograms data set: emoji in several art styles and icon sets, with names, from npm packages."""

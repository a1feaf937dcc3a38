"""Find a bundle that this machine can serve, load one of its precisions, and prove it before it serves.

`version_choice` picks the version, `bundles` verifies and loads it, `warming` runs it once at full size, and
`agreement` requires the golden outputs in every shape. Read `bundles` first.
"""

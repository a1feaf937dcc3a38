"""Find a bundle that this machine can serve, load one of its precisions, and prove it before it serves.

`version_choice` picks the version, `bundles` verifies and loads it, and `golden` runs it once in every shape,
which warms it, and requires the golden outputs. Read `bundles` first.
"""

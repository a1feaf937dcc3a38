"""The commands of the command line, one module each.

Every module has `add_parser`, which declares the arguments, and `run`, which takes the parsed arguments and
returns the exit status. `search` is a short one to read first.
"""

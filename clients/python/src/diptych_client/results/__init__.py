"""The values that calls return. They are frozen, and their fields have the names of the API.

One module for each group of calls; programs import all values from `diptych_client`. Read `encoding` and
`searching` first.
"""

"""What SQLite and PostgreSQL have in common: the connection of statements, and statements of many ports.

Read `connection` first. The classes for the ports, with the other statements, are in `adapters.sqlite`.
"""

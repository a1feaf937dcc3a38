"""The names and definitions of WordNet as texts, for a text teacher. `command` reads the database."""

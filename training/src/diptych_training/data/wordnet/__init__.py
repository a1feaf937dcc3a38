"""The names, definitions and synonyms of WordNet as texts, to teach. `command` reads the database."""

"""Words in PostgreSQL: our own tokens as lexemes in an index, and the texts in which phrases are found."""

# ruff: noqa: S608 - only numbers of collections and constants of this module are inserted into statements

from diptych.adapters.sqlite.text_index import WEIGHTS
from diptych.core.collections.metadata.words import Phrase, WordQuery

_COLUMNS = ("name", "caption", "other")
_K, _B = 1.2, 0.75  # of BM25


def table(c: int) -> tuple[str, str]:
    """The statements that make the table of a collection: its columns are those of the table of FTS5."""
    texts = " || ' ' || ".join(_COLUMNS)
    return (
        f"CREATE TABLE words_{c} (rowid BIGINT PRIMARY KEY, name TEXT NOT NULL, caption TEXT NOT NULL,"
        " other TEXT NOT NULL, lexemes TSVECTOR NOT NULL GENERATED ALWAYS AS"
        f" (array_to_tsvector(array_remove(string_to_array({texts}, ' '), ''))) STORED)",
        f"CREATE INDEX ON words_{c} USING gin (lexemes)",
    )


def statement_of(c: int, query: WordQuery) -> tuple[str, dict[str, str]]:
    """The statement for keys and ranks, the least one the best, and its parameters.

    The rank is that of BM25 where each phrase occurs once, in the column with the largest weight: all rows
    have all phrases, whose rarity makes no difference then.
    """
    lexemes = {_lexeme(phrase, n) for phrase in query.phrases for n in range(len(phrase.tokens))}
    parameters = {"lexemes": " & ".join(sorted(lexemes))}
    tests, weights = ["lexemes @@ %(lexemes)s::tsquery"], []
    for n, phrase in enumerate(query.phrases):
        parameters[f"phrase{n}"] = f" {' '.join(phrase.tokens)}{'' if phrase.is_prefix else ' '}"
        places = [f"strpos(' ' || {column} || ' ', %(phrase{n})s) > 0" for column in _COLUMNS]
        if len(phrase.tokens) > 1:
            tests.append(f"({' OR '.join(places)})")
        branches = " ".join(f"WHEN {one} THEN {weight}" for one, weight in zip(places, WEIGHTS, strict=True))
        weights.append(f"CASE {branches} ELSE 0 END")
    size = f"{_K} * ({1 - _B} + {_B} * n / avg(n) OVER ())"
    rank = " + ".join(f"w{n} / (w{n} + {size})" for n in range(len(weights)))
    columns = ", ".join(f"{weight} AS w{n}" for n, weight in enumerate(weights))
    found = (
        f"SELECT rowid, length(lexemes)::float8 AS n, {columns} FROM words_{c} WHERE {' AND '.join(tests)}"
    )
    return f"SELECT rowid, (-({rank}))::float8 FROM ({found}) AS found", parameters


def _lexeme(phrase: Phrase, n: int) -> str:
    """A token in the language of tsquery. It holds letters, digits and marks only."""
    is_prefix = phrase.is_prefix and n == len(phrase.tokens) - 1
    return f"'{phrase.tokens[n]}'{':*' if is_prefix else ''}"

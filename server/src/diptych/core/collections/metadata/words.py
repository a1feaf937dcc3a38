"""Words of names and metadata: what is indexed of an image, and how a query is read.

`tokens` cuts both.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from diptych.core.collections.metadata.exif import EXIF
from diptych.core.collections.metadata.reserved import FILE, MODIFIED
from diptych.core.collections.metadata.tokens import ZERO_WIDTH_SPACE, tokens
from diptych.core.types import Metadata, TextFields

MAX_QUERY_TOKENS = 64  # of a query; what follows does not count
BREAK = "\N{PILCROW SIGN}"  # stands between two values, so that no phrase spans them: no token has it

_CAPTIONS = {"caption", "title", "description", "name", "label", "tags", "keywords"}
_BETWEEN_VALUES = f" {BREAK} "
_NOT_INDEXED = {f"{FILE}.{MODIFIED}", f"{EXIF}.taken_at"}
_EXTENSION = re.compile(r"\.(avif|bmp|gif|hei[cf]|jpe?g|png|tiff?|webp)$", re.IGNORECASE)
_CONTENT_ID = re.compile(r"[0-9a-f]{32}")  # see `ids.content_id`
# A quoted text, which may lack its end, or a text without spaces; each may end with a `*`.
_PART = re.compile(r'"([^"]*)(?:"(\*)?|$)|([^\s"]+)')
_BETWEEN_WORDS = re.compile(rf"[,;!?()\[\]{{}}<>|、。「」『』…{ZERO_WIDTH_SPACE}]+")
_QUOTES = str.maketrans(dict.fromkeys("“”„‟«»‹›", '"'))
# A text in single quotes, where these cannot be apostrophes: those in it stand within words.
_IN_SINGLE_QUOTES = re.compile(r"(?<!\w)[‘‚‛]((?:[^‘’‚‛]|(?<=\w)’(?=\w))+)[‘’](?!\w)")
_PREFIX_STAR = re.compile(r'(?<=[\w"])\*+(?!\w)')
_URL = re.compile(r"\s*[a-z][a-z0-9+.-]*://\S*\s*", re.IGNORECASE)
Column = Literal["name", "caption", "other"]


@dataclass(frozen=True)
class Phrase:
    """Tokens that stand next to each other in one value. With `is_prefix` the last one may be longer."""

    tokens: tuple[str, ...]
    is_prefix: bool = False


@dataclass(frozen=True)
class WordQuery:
    """What an image must have to match: all of these phrases, each in any of its values. Without phrases no
    image matches.
    """

    phrases: tuple[Phrase, ...] = ()


@dataclass(frozen=True)
class Document:
    """The words of one image, as tokens joined by spaces: of its file name and id, of captions and titles,
    and of all other texts.
    """

    name: str = ""
    caption: str = ""
    other: str = ""


class _Value(NamedTuple):
    """One text of an image: the path of its field, and the column of the index it goes to."""

    path: str
    column: Column
    text: str


def parse_words(text: str) -> WordQuery:
    """Read what a person typed. Nothing is a syntax error.

    All words must occur. Quotes make a phrase; what has no space between does so too, such as `IMG_1234` or
    characters of Chinese; a `*` at the end makes a prefix. The extension of an image file does not count.
    Typographic quotes are quotes too.
    """
    phrases, n_left = dict[Phrase, None](), MAX_QUERY_TOKENS
    for phrase in _phrases(text):
        kept = phrase.tokens[:n_left]
        if not kept:
            break
        phrases[Phrase(kept, phrase.is_prefix and kept == phrase.tokens)] = None
        n_left -= len(kept)
    return WordQuery(tuple(phrases))


def without_syntax(text: str) -> str:
    """The text that a model reads of what `parse_words` reads: without quotes and the stars of prefixes."""
    plain = _PREFIX_STAR.sub("", _with_straight_quotes(text)).replace('"', " ")
    return text if plain == text else " ".join(plain.split()) or text


def document_of(id: str, metadata: Metadata, fields: TextFields) -> Document:
    """The words of an image: of these fields, and of its id unless that is derived from its content."""
    columns: dict[Column, list[str]] = {"name": [], "caption": [], "other": []}
    for path, column, text in _values(id, metadata, fields):
        found = " ".join(tokens(text))
        if found and not (path == "id" and found in columns["name"]):
            columns[column].append(found)
    return Document(*map(_BETWEEN_VALUES.join, columns.values()))


def matched_fields(query: WordQuery, id: str, metadata: Metadata, fields: TextFields) -> list[str]:
    """The dotted paths of the fields that carry a word of the query, and "id" for the id."""
    found = dict[str, None]()
    for value in _values(id, metadata, fields):
        if value.path not in found:
            words = tokens(value.text)
            if any(_occurs(phrase, words) for phrase in query.phrases):
                found[value.path] = None
    return list(found)


def _phrases(text: str) -> Iterator[Phrase]:
    for quoted, star, plain in _PART.findall(_with_straight_quotes(text)):
        parts = _BETWEEN_WORDS.split(unicodedata.normalize("NFKC", plain)) if plain else [quoted + star]
        for part in parts:
            if found := tuple(tokens(_EXTENSION.sub("", part.rstrip("* ")))):
                yield Phrase(found, part.endswith("*"))


def _with_straight_quotes(text: str) -> str:
    return _IN_SINGLE_QUOTES.sub(r'"\1"', text).translate(_QUOTES)


def _values(id: str, metadata: Metadata, fields: TextFields) -> Iterator[_Value]:
    for path, key, text in _texts("", "", metadata):
        if path in _NOT_INDEXED or not (fields is None or _is_chosen(path, fields)) or _URL.fullmatch(text):
            continue  # the parts of URLs, such as "photo" and "com", would be found everywhere
        if path == FILE:  # as earlier releases stored it: the path
            folder, _, name = text.rpartition("/")
            yield _Value(path, "name", _EXTENSION.sub("", name))
            yield _Value(path, "other", folder)
        elif path == f"{FILE}.name":
            yield _Value(path, "name", _EXTENSION.sub("", text))
        else:
            yield _Value(path, "caption" if key.casefold() in _CAPTIONS else "other", text)
    if not _CONTENT_ID.fullmatch(id):
        yield _Value("id", "name", _EXTENSION.sub("", id))


def _texts(path: str, key: str, value: object) -> Iterator[tuple[str, str, str]]:
    """The path, the last key and the text of each string, those in lists and in objects too."""
    if isinstance(value, str):
        yield path, key, value
    elif isinstance(value, list):
        for child in value:
            yield from _texts(path, key, child)
    elif isinstance(value, dict):
        for name, child in value.items():
            yield from _texts(f"{path}.{name}" if path else name, name, child)


def _is_chosen(path: str, fields: Sequence[str]) -> bool:
    return any(path == field or path.startswith(f"{field}.") for field in fields)


def _occurs(phrase: Phrase, words: Sequence[str]) -> bool:
    n = len(phrase.tokens)
    *first, last = phrase.tokens
    return any(
        list(words[at : at + n - 1]) == first
        and (words[at + n - 1].startswith(last) if phrase.is_prefix else words[at + n - 1] == last)
        for at in range(len(words) - n + 1)
    )

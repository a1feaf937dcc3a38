"""Words of names and metadata: how a text is cut, what is indexed of an image, and how a query is read.

Tokens hold letters, digits and marks only, folded: NFKC, lower case, without accents. In scripts that put no
spaces between words each character is a token of its own, so that a word is a phrase of its characters.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from diptych.core.collections.metadata.exif import EXIF
from diptych.core.collections.metadata.reserved import FILE, MODIFIED
from diptych.core.types import Metadata, TextFields

MAX_TOKEN_CHARS = 64  # longer ones are cut, in images and in queries
MAX_QUERY_TOKENS = 64  # of a query; what follows does not count
BREAK = "\N{PILCROW SIGN}"  # stands between two values, so that no phrase spans them: no token has it

_CAPTIONS = {"caption", "title", "description", "name", "label", "tags", "keywords"}
_BETWEEN_VALUES = f" {BREAK} "
_NOT_INDEXED = {f"{FILE}.{MODIFIED}", f"{EXIF}.taken_at"}
_EXTENSION = re.compile(r"\.(avif|bmp|gif|hei[cf]|jpe?g|png|tiff?|webp)$", re.IGNORECASE)
_CONTENT_ID = re.compile(r"[0-9a-f]{32}")  # see `ids.content_id`
# Folds ASCII, and turns what separates into spaces.
_ASCII = {code: char.lower() if (char := chr(code)).isalnum() else " " for code in range(128)}
# A quoted text, which may lack its end, or a text without spaces; each may end with a `*`.
_PART = re.compile(r'"([^"]*)(?:"(\*)?|$)|([^\s"]+)')
_ZERO_WIDTH_SPACE = "\N{ZERO WIDTH SPACE}"
_BETWEEN_WORDS = re.compile(rf"[,;!?()\[\]{{}}<>|、。「」『』…{_ZERO_WIDTH_SPACE}]+")
_QUOTES = str.maketrans(dict.fromkeys("“”„‟«»‹›", '"'))
# A text in single quotes. One that stands in a word or follows one is an apostrophe, unless it is the second.
_IN_SINGLE_QUOTES = re.compile(r"(?<!\w)[‘‚‛]((?:[^‘’]|(?<=\w)’(?=\w))+)[‘’](?!\w)")
_PREFIX_STAR = re.compile(r'(?<=[\w"])\*+(?!\w)')
_URL = re.compile(r"\s*[a-z][a-z0-9+.-]*://\S*\s*", re.IGNORECASE)
# Letters that Unicode does not take apart into one of ASCII and a mark.
_LETTERS = {"ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "ı": "i"}
# Scripts whose points and accents do not tell words apart, by how Unicode names their letters.
_WITHOUT_MARKS = ("LATIN", "GREEK", "CYRILLIC", "ARABIC", "HEBREW")
# Thai, Lao; Myanmar; Hangul jamo; Khmer; ideographs, kana and Yi; Hangul syllables; the rest of both kinds.
_WITHOUT_SPACES = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1100, 0x11FF), (0x1780, 0x17FF), (0x2E80, 0xA4CF)),
    *((0xA960, 0xA97F), (0xAC00, 0xD7FF), (0xF900, 0xFAFF), (0x1AFF0, 0x1B2FF), (0x20000, 0x3FFFF)),
)
_TATWEEL = "\N{ARABIC TATWEEL}"  # only lengthens the line between two letters

# "plain": a letter whose marks are dropped; "single": one that is a token of its own; "other" separates.
_Kind = Literal["letter", "plain", "single", "mark", "other"]
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


def tokens(text: str) -> list[str]:
    """Cut a text into tokens. No text makes it raise."""
    if text.isascii():
        words = text.translate(_ASCII).split()
        return words if len(text) <= MAX_TOKEN_CHARS else [word[:MAX_TOKEN_CHARS] for word in words]
    folded = unicodedata.normalize("NFKC", text).casefold()
    found, run, last = list[str](), "", "other"
    for char in unicodedata.normalize("NFC", folded):
        kind, kept = _folded(char)
        if kind == "mark":  # of the letter before, if there is one that keeps its marks
            run += kept if run and last != "plain" else ""
            continue
        if run and (kind in {"other", "single"} or last == "single"):
            found.append(run[:MAX_TOKEN_CHARS])
            run = ""
        run, last = run + kept, kind
    return [*found, run[:MAX_TOKEN_CHARS]] if run else found


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


@lru_cache(maxsize=65_536)
def _folded(char: str) -> tuple[_Kind, str]:
    """What a character does to a token, and what stays of it."""
    if char == _ZERO_WIDTH_SPACE:
        return "other", ""
    base = unicodedata.normalize("NFD", char)[0]
    category = unicodedata.category(base)
    if category[0] == "M" or category == "Cf" or char == _TATWEEL:
        # Soft hyphens, directions of writing and variants of a shape are no part of a word.
        is_kept = category[0] == "M" and not unicodedata.name(char, "").startswith("VARIATION SELECTOR")
        return "mark", char if is_kept else ""
    if category[0] not in "LN":
        return "other", ""
    if any(first <= ord(char) <= last for first, last in _WITHOUT_SPACES):
        return "single", char
    if unicodedata.name(base, "").startswith(_WITHOUT_MARKS):
        return "plain", _LETTERS.get(base, base)
    return "letter", char


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

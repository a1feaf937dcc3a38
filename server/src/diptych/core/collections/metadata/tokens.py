"""How a text is cut into tokens.

Tokens hold letters, digits and marks only, folded: NFKC, lower case, without accents. In scripts that put no
spaces between words each character is a token of its own, so that a word is a phrase of its characters.
"""

import unicodedata
from functools import lru_cache
from typing import Literal

MAX_TOKEN_CHARS = 64  # longer ones are cut, in images and in queries
ZERO_WIDTH_SPACE = "\N{ZERO WIDTH SPACE}"

# Folds ASCII, and turns what separates into spaces.
_ASCII = {code: char.lower() if (char := chr(code)).isalnum() else " " for code in range(128)}
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


@lru_cache(maxsize=65_536)
def _folded(char: str) -> tuple[_Kind, str]:
    """What a character does to a token, and what stays of it."""
    if char == ZERO_WIDTH_SPACE:
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

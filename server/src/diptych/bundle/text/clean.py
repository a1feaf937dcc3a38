"""Mend what the web does to texts, as ftfy does, at a cost that is bounded; knows nothing of tokens."""

import html
import re
import unicodedata
from collections.abc import Callable

import ftfy
from ftfy import fixes

# Bounds that no ordinary text reaches. Below them a text is mended exactly as ftfy and CLIP mend it.
MAX_CHARS = 8_192  # read of a text, where each line that is not plain counts LINE_CHARS more
LINE_CHARS = 32  # what ftfy does once a line costs as much as so many characters
MAX_MARKS = 64  # combining marks on one character: they are sorted, at quadratic cost. Unicode's bound is 30
MAX_PASSES = 8  # ftfy starts anew while anything changes: a layer of escapes a pass, thousands if one wishes

_ENTITY_AMPERSAND = r"(?:amp|AMP|#0*38|#[xX]0*26);"
_NESTED_AMPERSAND = re.compile(rf"(&(?:{_ENTITY_AMPERSAND}){{64}})(?:{_ENTITY_AMPERSAND})+")
_UNDONE_AMPERSAND = re.compile(rf"(&(?:{_ENTITY_AMPERSAND}){{4}})(?:{_ENTITY_AMPERSAND})+")  # all end as &
_MAX_DIGITS = 20
_LONG_NUMBER = re.compile(rf"&#([0-9]{{{_MAX_DIGITS},}});?")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_MAYBE_MARKS = re.compile(rf"[^\w\s\x00-\x7f]{{{MAX_MARKS + 1},}}")  # no mark is a letter, digit or space
_FIXES: tuple[Callable[[str], str], ...] = (
    fixes.fix_c1_controls,
    fixes.fix_latin_ligatures,
    fixes.fix_character_width,
    fixes.uncurl_quotes,
    fixes.fix_line_breaks,
    fixes.fix_surrogates,
    fixes.remove_terminal_escapes,
    fixes.remove_control_chars,
)


def repair(text: str, max_chars: int = MAX_CHARS) -> str:
    """Mend broken encodings and undo HTML escapes, twice: captions from the web are often escaped twice.

    Its cost is bounded, whatever the text: what follows `max_chars` characters that need a look is cut.
    """
    if _is_plain(text):
        return text  # nothing to mend; ftfy costs half of all tokenising
    return _unescape(_unescape(_fix(text, max_chars)))


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and "&" not in text


def _fix(text: str, left: int) -> str:
    """As `ftfy.fix_text`: line by line, and HTML escapes are left alone from the first < on."""
    fixed: list[str] = []
    is_html = False
    for found in _LINE.finditer(_NESTED_AMPERSAND.sub(r"\1", text)):
        line = found.group()
        if left <= 0:
            break
        is_html = is_html or "<" in line
        if _is_plain(line.strip(" \t\r\n")):
            fixed.append(line)
            continue
        fixed.append(_fix_line(line[:left], is_html=is_html))
        left -= len(line) + LINE_CHARS
    return "".join(fixed)


def _fix_line(line: str, *, is_html: bool) -> str:
    """As `ftfy.fix_and_explain`: its fixes in its order while they change anything, but for our bounds."""
    if not is_html:
        line = _UNDONE_AMPERSAND.sub(r"\1", line)
    for _ in range(MAX_PASSES):
        before = line
        line = ftfy.fix_encoding(line if is_html else fixes.unescape_html(line))
        for fix in _FIXES:
            line = fix(line)
        line = unicodedata.normalize("NFC", _MAYBE_MARKS.sub(_fewer_marks, line))
        if line == before:
            break
    return line


def _fewer_marks(found: re.Match[str]) -> str:
    kept: list[str] = []
    n_marks = 0
    for character in found.group():
        n_marks = n_marks + 1 if _is_mark(character) else 0
        if n_marks <= MAX_MARKS:
            kept.append(character)
    return "".join(kept)


def _is_mark(character: str) -> bool:
    """Whether normalisation sorts it; some Tibetan vowels are of class 0 and made of marks."""
    return unicodedata.combining(unicodedata.normalize("NFD", character)[0]) != 0


def _unescape(text: str) -> str:
    """As `html.unescape`, which fails on numbers of more digits than Python reads."""
    return html.unescape(_LONG_NUMBER.sub(_short_number, text))


def _short_number(found: re.Match[str]) -> str:
    digits = found.group(1).lstrip("0")
    return f"&#{digits or 0};" if len(digits) < _MAX_DIGITS else "\ufffd"  # of a character that there is not

"""Repairs texts from the web as ftfy does, at a bounded cost."""

import html
import re
import unicodedata
from collections.abc import Callable

import ftfy
from ftfy import fixes

# Limits that no ordinary text reaches. Within them a text is repaired exactly as ftfy and CLIP repair it.
MAX_CHARS = 8_192  # of a text that are read; each line that is not plain counts LINE_CHARS more
LINE_CHARS = 32  # ftfy's fixed cost per line, in characters
MAX_MARKS = 64  # combining marks on one character, which are sorted in quadratic time; Unicode allows 30
MAX_PASSES = (
    8  # ftfy repeats while anything changes, once per layer of escapes, of which a text may have thousands
)

_ENTITY_AMPERSAND = r"(?:amp|AMP|#0*38|#[xX]0*26);"
_NESTED_AMPERSAND = re.compile(rf"(&(?:{_ENTITY_AMPERSAND}){{64}})(?:{_ENTITY_AMPERSAND})+")
_UNDONE_AMPERSAND = re.compile(rf"(&(?:{_ENTITY_AMPERSAND}){{4}})(?:{_ENTITY_AMPERSAND})+")  # all end as &
_MAX_DIGITS = 20
_LONG_NUMBER = re.compile(rf"&#([0-9]{{{_MAX_DIGITS},}});?")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
# combining marks are not letters, digits or spaces
_MAYBE_MARKS = re.compile(rf"[^\w\s\x00-\x7f]{{{MAX_MARKS + 1},}}")
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
    """Repair broken encodings and undo HTML escapes, twice, because captions are often escaped twice.

    The cost is bounded for any text: what follows after `max_chars` characters that are not plain is cut.
    """
    if _is_plain(text):
        return text  # nothing to repair; ftfy would take half of the time of tokenising
    return _unescape(_unescape(_fix(text, max_chars)))


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and "&" not in text


def _fix(text: str, left: int) -> str:
    """Repair as `ftfy.fix_text` does: line by line, and without undoing HTML escapes after the first <."""
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
    """Repair as `ftfy.fix_and_explain` does, in the same order until nothing changes, within our limits."""
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
    """Whether normalisation sorts the character. Some Tibetan vowels of class 0 decompose into marks."""
    return unicodedata.combining(unicodedata.normalize("NFD", character)[0]) != 0


def _unescape(text: str) -> str:
    """Undo HTML escapes as `html.unescape`, which fails on numbers with more digits than Python reads."""
    return html.unescape(_LONG_NUMBER.sub(_short_number, text))


def _short_number(found: re.Match[str]) -> str:
    digits = found.group(1).lstrip("0")
    return f"&#{digits or 0};" if len(digits) < _MAX_DIGITS else "\ufffd"  # above the last code point

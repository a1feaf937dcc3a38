"""Texts of the user's, made safe for a line of a terminal and for HTML, and shares as points."""

from html import escape

LONGEST = 160  # characters of a caption in a report
LONGEST_BLOCK = 100_000  # characters of a paragraph, or of lines of text
JOINERS = "\u200c\u200d"  # not printable by themselves, but parts of emoji and of words
MINUS = "\u2212"


def one_line(text: str, longest: int = LONGEST) -> str:
    """The text on one line of at most `longest` characters, without control or direction characters."""
    line = " ".join(text.split())
    shown = "".join(char if char.isprintable() or char in JOINERS else "\ufffd" for char in line)
    return shown if len(shown) <= longest else f"{shown[: longest - 1].rstrip()}…"


def html_text(text: str) -> str:
    """The text on one line as HTML; also for attributes in double quotes."""
    return escape(one_line(text))


def html_caption(text: str) -> str:
    """The text as an HTML element that keeps its direction of writing to itself."""
    return f"<bdi>{html_text(text)}</bdi>"


def html_block(text: str, longest: int = LONGEST_BLOCK) -> str:
    """Lines of text as HTML, cut at `longest` characters."""
    shown = text if len(text) <= longest else f"{text[:longest]}\n… ({len(text) - longest:,} more characters)"
    kept = (char if char.isprintable() or char in f"\n\t{JOINERS}" else "\ufffd" for char in shown)
    return escape("".join(kept))


def counted(n: int, noun: str) -> str:
    """A number and its noun, which takes an s unless there is one."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def points(share: float | None) -> str:
    """A share from 0 to 1 in points, as in ``63.5``; a dash if there is none."""
    return "–" if share is None else f"{100 * share:.1f}"


def signed_points(change: float) -> str:
    """A change of a share in points with its sign, as in ``+4.0`` or ``−4.0``."""
    rounded = round(100 * change, 1)
    return f"{rounded:+.1f}".replace("-", MINUS) if rounded else "0.0"

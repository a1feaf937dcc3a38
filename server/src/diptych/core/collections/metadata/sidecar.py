"""The fields of `file` in metadata that come from the sidecar of a file: what is stored of its XMP."""

from collections.abc import Callable, Mapping
from typing import Final

from diptych.bundle.image.xmp import Xmp
from diptych.core.types import Metadata

MAX_TEXT_CHARS = 4_000  # of a caption or title
MAX_KEYWORDS, MAX_KEYWORD_CHARS = 100, 200
_RATINGS = range(-1, 6)
SIDECAR_KINDS = (
    f"caption and title (texts of at most {MAX_TEXT_CHARS} characters), keywords (at most {MAX_KEYWORDS} "
    f"texts of at most {MAX_KEYWORD_CHARS} characters), rating (-1 to 5)"
)


def sidecar_fields(xmp: Xmp) -> Metadata:
    """What is stored of a sidecar: the beginning of long texts, and the first keywords."""
    found: Metadata = {
        "caption": xmp.caption[:MAX_TEXT_CHARS],
        "title": xmp.title[:MAX_TEXT_CHARS],
        "keywords": [word[:MAX_KEYWORD_CHARS] for word in xmp.keywords[:MAX_KEYWORDS]],
        "rating": xmp.rating,
    }
    return {name: value for name, value in found.items() if value}


def without_sidecar(file: Metadata) -> Metadata:
    """The value of `file` but for what a sidecar says."""
    return {name: value for name, value in file.items() if name not in SIDECAR}


def _is_text(value: object, max_chars: int = MAX_TEXT_CHARS) -> bool:
    return isinstance(value, str) and len(value) <= max_chars


def _are_keywords(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= MAX_KEYWORDS
        and all(_is_text(one, MAX_KEYWORD_CHARS) for one in value)
    )


def _is_rating(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value in _RATINGS


SIDECAR: Final[Mapping[str, Callable[[object], bool]]] = {  # whether a value is one of its kind
    "caption": _is_text,
    "title": _is_text,
    "keywords": _are_keywords,
    "rating": _is_rating,
}

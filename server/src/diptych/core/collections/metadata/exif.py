"""The fields of `exif` in metadata: what is stored of a file's EXIF, and which values a caller may give."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from diptych.bundle.image.exif import MAX_TEXT_CHARS, Exif
from diptych.core.collections.metadata.checks import json_kind
from diptych.core.collections.metadata.filters import same_json
from diptych.core.types import ExifLevel, Metadata
from diptych.errors import InvalidValue

EXIF = "exif"
PLACE = ("latitude", "longitude")
FIELDS_OF: Final[dict[ExifLevel, tuple[str, ...]]] = {
    "none": (),
    "basic": ("taken_at", "camera", "lens"),
    "place": ("taken_at", "camera", "lens", *PLACE),
}
LEVELS = tuple(FIELDS_OF)  # each stores what those before it do
FIELDS = FIELDS_OF["place"]
RENAME = "rename this field, or remove it"  # metadata of earlier releases may have such names

_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})?"
)


def exif_fields(exif: Exif, level: ExifLevel) -> Metadata:
    """What is stored of the EXIF of a file."""
    found = {name: getattr(exif, name) for name in FIELDS_OF[level]}
    return {name: value for name, value in found.items() if value is not None}


def with_exif(metadata: Metadata, exif: object) -> Metadata:
    """Add those fields of the object `exif` that the metadata lacks; a place is taken whole or not at all."""
    own = metadata.get(EXIF, {})
    if not (isinstance(exif, dict) and isinstance(own, dict)):
        return metadata
    has_place = any(name in own for name in PLACE)
    lacking = {
        name: value for name, value in exif.items() if name not in own and not (has_place and name in PLACE)
    }
    return metadata | {EXIF: own | lacking} if lacking else metadata


def without_exif(metadata: Metadata) -> Metadata:
    """The metadata for another picture in the place of this one."""
    return {name: value for name, value in metadata.items() if name != EXIF}


def has_given_exif(given: Metadata, stored: Metadata) -> bool:
    """Whether all fields of `exif` that were given are stored; the others may come from the file."""
    own, there = given.get(EXIF, {}), stored.get(EXIF, {})
    if not (isinstance(own, dict) and isinstance(there, dict)):
        return same_json(own, there)
    return all(name in there and same_json(value, there[name]) for name, value in own.items())


def counted(metadata: Metadata) -> Metadata:
    """The part of metadata that counts against its limit: without `FIELDS`, which the server itself adds."""
    exif = metadata.get(EXIF) if isinstance(metadata, dict) else None
    if not isinstance(exif, dict):
        return metadata
    others = {name: value for name, value in exif.items() if name not in FIELDS}
    return without_exif(metadata) | ({EXIF: others} if others else {})


def check_exif(exif: object) -> None:
    """Raises InvalidValue unless each of `FIELDS` has a value of its kind, and a place is whole; other fields
    may have any value.
    """
    if not isinstance(exif, dict):
        raise _reserved(EXIF, f"an object, not {json_kind(exif)}")
    for name in FIELDS:
        is_valid, kind = _KINDS[name]
        if name in exif and not is_valid(exif[name]):
            raise _reserved(f"{EXIF}.{name}", kind)
    lacking = [name for name in PLACE if name not in exif]
    if len(lacking) == 1:
        raise InvalidValue(f"'exif' has half a place, without {lacking[0]!r}: give both, or neither")


def _reserved(name: str, kind: str) -> InvalidValue:
    return InvalidValue(f"{name!r} is a reserved name: its value must be {kind}; {RENAME}")


def _is_moment(value: Any) -> bool:
    if not isinstance(value, str) or _MOMENT.fullmatch(value) is None:
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:  # such as a month 13
        return False
    return True


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT_CHARS


def _is_within(largest: int) -> Callable[[Any], bool]:
    def is_valid(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and -largest <= value <= largest

    return is_valid


_TEXT = f"a text of at most {MAX_TEXT_CHARS} characters"
_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "taken_at": (_is_moment, "an ISO 8601 time such as '2024-05-01T10:11:12' or '2024-05-01T10:11:12+02:00'"),
    "camera": (_is_text, _TEXT),
    "lens": (_is_text, _TEXT),
    "latitude": (_is_within(90), "a number of degrees from -90 to 90"),
    "longitude": (_is_within(180), "a number of degrees from -180 to 180"),
}

"""Reads the date, camera, lens and place that a photograph carries as EXIF.

EXIF is a small TIFF structure: directories of tags, whose values may lie anywhere in the block. The cost is
bounded whatever the block holds: at most `MAX_TAGS` of a directory are looked at, and `MAX_TEXT_BYTES` of a
text. A missing or malformed value counts as absent: the picture itself is sound.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from diptych.bundle.image.formats import ImageFormat

MAX_TAGS = 512  # of one directory; cameras write dozens
MAX_TEXT_BYTES = 1_000
MAX_TEXT_CHARS = 200  # of a camera or lens
DIGITS = 6  # of a latitude or longitude in degrees: a tenth of a metre
FIRST_YEAR = 1826  # of the oldest photograph; earlier dates are defaults of a camera or a program
PNG_TAIL_BYTES = 1_000_000  # in which EXIF that follows the pixels of a PNG is searched

_PREFIX = b"Exif\0\0"
_MAKE, _MODEL, _EXIF_IFD, _GPS_IFD = 0x010F, 0x0110, 0x8769, 0x8825
_ORIGINAL, _DIGITIZED = 0x9003, 0x9004
_OFFSET, _OFFSET_ORIGINAL, _OFFSET_DIGITIZED = 0x9010, 0x9011, 0x9012
_LENS = 0xA434
_LATITUDE_REF, _LATITUDE, _LONGITUDE_REF, _LONGITUDE = 1, 2, 3, 4
_SHORT, _LONG, _RATIONAL = 3, 4, 5
_TEXTS = frozenset({1, 2, 7, 129})  # BYTE, ASCII, UNDEFINED, UTF-8

_MOMENT = re.compile(
    r"([0-9]{4})[:/-]([0-9]{2})[:/-]([0-9]{2})[ T]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]*)?(.*)"
)
_ZONE = re.compile(r"[+-](0[0-9]|1[0-4]):[0-5][0-9]")


@dataclass(frozen=True)
class Exif:
    """What a camera recorded; None where it recorded nothing that can be read.

    `taken_at` is ISO 8601 to the second. Without an offset it is the local time of the camera.
    """

    taken_at: str | None = None
    camera: str | None = None
    lens: str | None = None
    latitude: float | None = None  # degrees, both or neither
    longitude: float | None = None


NO_EXIF = Exif()


def exif_of(payload: bytes, image_format: ImageFormat, block: object) -> Exif:
    """The EXIF of an image file; `block` is what its decoder found before the pixels, if anything."""
    if image_format == "TIFF":  # the file itself is such a structure
        return read_exif(payload)
    if not block and image_format == "PNG":
        block = _late_block(payload)
    return read_exif(block) if isinstance(block, bytes) else NO_EXIF


def read_exif(block: bytes) -> Exif:
    """Read an EXIF block, with or without its prefix, or a TIFF file. Never raises."""
    try:
        tags = _Tags.first(block[len(_PREFIX) :] if block.startswith(_PREFIX) else block)
    except struct.error:
        return NO_EXIF
    details, place = tags.directory(_EXIF_IFD), tags.directory(_GPS_IFD)
    taken_at = details.moment(_ORIGINAL, _OFFSET_ORIGINAL)
    latitude = place.degrees(_LATITUDE, _LATITUDE_REF, "NS", 90)
    longitude = place.degrees(_LONGITUDE, _LONGITUDE_REF, "EW", 180)
    if latitude is None or longitude is None:
        latitude = longitude = None
    return Exif(
        taken_at=taken_at or details.moment(_DIGITIZED, _OFFSET_DIGITIZED),
        camera=_camera(tags.text(_MAKE), tags.text(_MODEL)),
        lens=details.text(_LENS) or None,
        latitude=latitude,
        longitude=longitude,
    )


class _Tags:
    """A directory of a TIFF structure: its tags as (type, number of values, the four bytes of the entry)."""

    def __init__(self, data: bytes, order: str, offset: int | None) -> None:
        self._data, self._order = data, order
        self._tags: dict[int, tuple[int, int, bytes]] = {}
        if offset is None or offset + 2 > len(data):
            return
        (n_tags,) = struct.unpack_from(f"{order}H", data, offset)
        entries = data[offset + 2 : offset + 2 + 12 * min(n_tags, MAX_TAGS)]
        for tag, kind, n_values, value in _entries(order, entries):
            self._tags.setdefault(tag, (kind, n_values, value))

    @classmethod
    def first(cls, data: bytes) -> "_Tags":
        """The first directory; empty if this is no TIFF structure. Raises struct.error if it is cut off."""
        order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
        if order is None:
            return cls(data, "<", None)
        (offset,) = struct.unpack_from(f"{order}I", data, 4)
        return cls(data, order, offset)

    def directory(self, tag: int) -> "_Tags":
        """The directory that a tag points at; empty without one."""
        kind, n_values, value = self._tags.get(tag, (0, 0, b""))
        is_pointer = kind in {_LONG, 13} and n_values == 1  # 13: IFD
        return _Tags(
            self._data, self._order, struct.unpack(f"{self._order}I", value)[0] if is_pointer else None
        )

    def text(self, tag: int) -> str:
        """A text up to its first NUL, on one line, without control characters; empty without one."""
        kind, n_values, _ = self._tags.get(tag, (0, 0, b""))
        if kind not in _TEXTS:
            return ""
        text = self._value(tag, min(n_values, MAX_TEXT_BYTES)).partition(b"\0")[0].decode(errors="ignore")
        printable = "".join(char if char.isprintable() else " " for char in text)
        return " ".join(printable.split())[:MAX_TEXT_CHARS].strip()

    def moment(self, tag: int, offset_tag: int) -> str | None:
        """A date and time to the second, with its offset: in the text itself, or in a tag of its own."""
        found = _MOMENT.fullmatch(self.text(tag))
        if found is None:
            return None
        *numbers, own_offset = found.groups()
        try:
            moment = datetime(*map(int, numbers))  # type: ignore[arg-type]
        except ValueError:  # such as a month 0
            return None
        own = _zone(own_offset.strip())
        if moment.year < FIRST_YEAR or (own_offset and not own):
            return None
        return moment.isoformat() + (own or _zone(self.text(offset_tag) or self.text(_OFFSET)))

    def degrees(self, tag: int, reference_tag: int, references: str, largest: int) -> float | None:
        """Degrees, minutes and seconds as signed degrees; the second reference is negative."""
        kind, n_values, _ = self._tags.get(tag, (0, 0, b""))
        reference = self.text(reference_tag).upper()
        if (kind, n_values) != (_RATIONAL, 3) or len(reference) != 1 or reference not in references:
            return None
        value = self._value(tag, 24)
        if len(value) != 24:
            return None
        numbers: tuple[int, ...] = struct.unpack(f"{self._order}6I", value)
        if not all(numbers[1::2]):  # a denominator is 0
            return None
        degrees, minutes, seconds = (
            n / divisor for n, divisor in zip(numbers[::2], numbers[1::2], strict=True)
        )
        found = degrees + minutes / 60 + seconds / 3600
        if minutes > 60 or seconds > 60 or found > largest:
            return None
        return round(-found if reference == references[1] else found, DIGITS) + 0.0  # no negative zero

    def _value(self, tag: int, n_bytes: int) -> bytes:
        """The first bytes of a value, which lies in the entry itself if the value has at most four bytes."""
        kind, n_values, entry = self._tags[tag]
        if kind in _TEXTS and n_values <= 4:
            return entry[:n_values]
        (offset,) = struct.unpack(f"{self._order}I", entry)
        return self._data[offset : offset + n_bytes]


def _entries(order: str, entries: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    return struct.iter_unpack(f"{order}HHI4s", entries[: len(entries) // 12 * 12])


def _zone(text: str) -> str:
    """The offset from UTC that a text names; empty if it names none."""
    return "+00:00" if text == "Z" else text if _ZONE.fullmatch(text) else ""


def _camera(make: str, model: str) -> str | None:
    """Make and model, without the make where the model names it."""
    first = model.casefold().partition(" ")[0]
    is_named = first in make.casefold().split() or model.casefold().startswith(make.casefold())
    both = model if model and is_named else f"{make} {model}"
    return both.strip()[:MAX_TEXT_CHARS].strip() or None


def _late_block(payload: bytes) -> bytes:
    """The EXIF chunk that follows the pixels of a PNG; empty without one."""
    at = payload.rfind(b"eXIf", -PNG_TAIL_BYTES)
    length = int.from_bytes(payload[at - 4 : at], "big") if at >= 4 else 0
    chunk, checksum = payload[at : at + 4 + length], payload[at + 4 + length : at + 8 + length]
    is_chunk = 0 < length <= PNG_TAIL_BYTES and zlib.crc32(chunk) == int.from_bytes(checksum, "big")
    return chunk[4:] if is_chunk else b""

"""Bound what the directory of a TIFF file may cost its decoder; knows nothing of pixels.

The decoder makes an object of every number in a tag and of every strip, and unpacks a tile in full, however
little of it lies in the picture.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from diptych.errors import TooLarge

MAX_NUMBERS = 400_000  # in all tags; a 16-bit colour map and a transfer function have 200,000 each
MAX_TILE_PX = 4096 * 4096  # or as much as the picture itself
MAX_TILES = 50_000  # the largest picture in tiles of 32 x 32
MAX_PIECE_SCANS = 4  # of a JPEG inside; the progressive kind has more, and does not belong in a TIFF

_WIDTH, _LENGTH, _TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS = 256, 257, 322, 323, 324
_COMPRESSION, _JPEG = 259, 7
_PIECES = ((273, 279), (324, 325))  # offsets and lengths: of strips, of tiles
_TILE_STEP = 16  # tiles are multiples of it
_FOLDERS = frozenset({0x8769, 0x8825, 0xA005})  # EXIF, GPS, interoperability: directories that are read too
_MAX_DEPTH = 3
_UNIT_BYTES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}  # types that become numbers
_NARROW = {3: "H", 4: "I"}  # types that may fill only the beginning of the field for a value

_Tag = tuple[int, int, int, int]  # tag, type, count, value or offset


@dataclass(frozen=True)
class _Reader:
    """Numbers of a file, in its byte order and width; struct.error or OverflowError behind its end."""

    payload: bytes
    order: str  # < or >
    is_big: bool  # BigTIFF: offsets of 8 bytes

    def at(self, position: int, kind: str) -> int:
        number: int = struct.unpack_from(self.order + kind, self.payload, position)[0]
        return number

    def tags(self) -> Iterator[_Tag]:
        """Those of the first picture; ends where the file or its sense does, as the decoder does."""
        try:
            yield from self._folder(self.at(8, "Q") if self.is_big else self.at(4, "I"), _MAX_DEPTH)
        except (struct.error, OverflowError):  # an offset behind the end, or beyond all sense
            return

    def _folder(self, position: int, depth: int) -> Iterator[_Tag]:
        n_tags = self.at(position, "Q" if self.is_big else "H")
        position += 8 if self.is_big else 2
        width, step, field = ("Q", 20, 12) if self.is_big else ("I", 12, 8)
        for start in range(position, min(position + n_tags * step, len(self.payload)), step):
            tag, kind = self.at(start, "H"), self.at(start + 2, "H")
            count = self.at(start + 4, width)
            value = self.at(start + field, _NARROW.get(kind, width) if count == 1 else width)
            yield tag, kind, count, value
            if tag in _FOLDERS and depth > 0:
                yield from self._folder(value, depth - 1)


def check_tiff(payload: bytes) -> None:
    """Raises TooLarge for too many numbers in the tags, or tiles much larger than the picture."""
    order = "<" if payload[:1] == b"I" else ">"
    ways = {b"+\0": [True], b"\0+": [True, False]}  # of big-endian BigTIFF decoders think differently
    for is_big in ways.get(payload[2:4], [False]):
        _check_tags(_Reader(payload, order, is_big).tags(), len(payload))


def _check_tags(tags: Iterator[_Tag], n_bytes: int) -> None:
    n_numbers = 0
    edges: dict[int, int] = {}  # of the picture the first that is given, of tiles the largest
    for tag, kind, count, value in tags:
        # A tag that is longer than the file is passed over, here and there.
        n_numbers += max(count, 1) if 0 < count * _UNIT_BYTES.get(kind, 0) <= n_bytes else 1
        if n_numbers > MAX_NUMBERS:
            raise TooLarge(f"TIFF image has over {MAX_NUMBERS} numbers in its tags")
        if tag == _TILE_OFFSETS and count > MAX_TILES:
            raise TooLarge(f"TIFF image has {count} tiles, limit is {MAX_TILES}")
        if tag in {_WIDTH, _LENGTH}:
            edges.setdefault(tag, value)
        if tag in {_TILE_WIDTH, _TILE_LENGTH}:
            edges[tag] = max(edges.get(tag, 0), value)
    n_px = (edges.get(_WIDTH, 0) + _TILE_STEP) * (edges.get(_LENGTH, 0) + _TILE_STEP)
    tile_px = edges.get(_TILE_WIDTH, 0) * edges.get(_TILE_LENGTH, 0)
    if tile_px > max(n_px, MAX_TILE_PX):
        raise TooLarge(f"TIFF image has tiles of {tile_px} pixels, limit is {MAX_TILE_PX}")


def check_pieces(payload: bytes, tags: Mapping[int, Any]) -> None:
    """Raises TooLarge for JPEG strips and tiles of many scans: each may be one of thousands that share it."""
    if tags.get(_COMPRESSION) != _JPEG:
        return
    pieces = {
        (int(offset), int(length))
        for offsets, lengths in _PIECES
        for offset, length in zip(tags.get(offsets) or (), tags.get(lengths) or (), strict=False)
    }
    if sum(min(abs(length), len(payload)) for _, length in pieces) > 2 * len(payload):
        raise TooLarge("TIFF image has JPEG pieces that overlap")
    if any(payload.count(b"\xff\xda", at, at + length) > MAX_PIECE_SCANS for at, length in pieces):
        raise TooLarge(f"TIFF image has a JPEG of over {MAX_PIECE_SCANS} scans inside")

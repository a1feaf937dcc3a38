"""Bound what the structure of a JPEG file may cost its decoder; knows nothing of pixels.

Each scan of a JPEG goes over the whole picture again and may take a dozen bytes: a megabyte of scans keeps a
decoder busy for minutes.
"""

import re
from itertools import islice

from diptych.errors import TooLarge

MAX_EXIF_SEGMENTS = 16  # of 64 kB each; the decoder joins them, in quadratic time, where the standard has one
MAX_SCANS = 1_000
MAX_SCANS_AT_LIMIT = 20  # of the largest picture: 2 s; progressive files have about 10

_EXIF = re.compile(rb"\xff\xe1..Exif\0\0", re.DOTALL)
_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")  # in a scan: no stuffed byte, no restart
_SOS, _EOI = 0xDA, 0xD9
_BARE = frozenset({0x01, 0xD8, *range(0xF0, 0xFE)})  # markers without a segment behind them
_MARKERS_PER_SCAN = 10  # tables and comments that may stand before a scan


def check_exif_segments(payload: bytes) -> None:
    """Raises TooLarge for more of them than any honest file has."""
    if sum(1 for _ in islice(_EXIF.finditer(payload), MAX_EXIF_SEGMENTS + 1)) > MAX_EXIF_SEGMENTS:
        raise TooLarge(f"JPEG image has over {MAX_EXIF_SEGMENTS} EXIF segments")


def check_scans(payload: bytes, first: int, n_px: int, max_px: int) -> None:
    """Raises TooLarge for too many scans of `n_px` pixels; the data of the first one begins at `first`."""
    most = min(MAX_SCANS, MAX_SCANS_AT_LIMIT * max_px // max(n_px, 1))
    # Counting bytes is nearly free, but sees what follows the picture in the file too: then look closer.
    if payload.count(b"\xff\xda", first) >= most and _has_more_scans(payload, first, most):
        raise TooLarge(f"JPEG image of {n_px} pixels has more than {most} scans")


def _has_more_scans(payload: bytes, position: int, most: int) -> bool:
    n_scans, n_markers = 1, 0
    while n_scans <= most and n_markers <= most * _MARKERS_PER_SCAN:
        found = _MARKER.search(payload, position)
        if found is None or payload[found.start(1)] == _EOI:
            return False
        marker = payload[found.start(1)]
        n_scans += marker == _SOS
        n_markers += 1
        length = 0 if marker in _BARE else int.from_bytes(payload[found.end() : found.end() + 2], "big")
        position = found.end() + length
    return True

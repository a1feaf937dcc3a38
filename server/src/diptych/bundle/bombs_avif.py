"""Bound what the AV1 inside an AVIF file may cost its decoder; knows nothing of pixels.

The size that the file names is not that of the pictures inside: the decoder takes those of up to 268 million
pixels, and thousands of them for the tiles of one picture, and scales them to what was named.
"""

import struct
from collections.abc import Iterator

from diptych.bundle.av1 import coded_pictures
from diptych.bundle.heif import av1_pieces, boxes_of
from diptych.errors import TooLarge, UndecodableImage

MAX_UNITS = 20_000  # of AV1 in all: a picture has about 3, so has a tile
SLACK_PX = 1_000_000  # beyond what is named: the last tiles of a grid are padded
MAX_ONE = 2  # times what is named, in one coded picture
MAX_ALL = 8  # times what is named, in all: transparency, layers, a gain map, a smaller copy


def check_boxes(payload: bytes) -> None:
    """Raises TooLarge for more boxes and longer lists than any honest file has, UndecodableImage."""
    try:
        boxes_of(payload)
    except (ValueError, struct.error) as error:
        raise UndecodableImage(f"AVIF image: {error}") from error


def check_coded(payload: bytes, n_px: int) -> None:
    """Raises TooLarge when much more is coded than the `n_px` that are named, UndecodableImage."""
    one = total = 0
    try:
        for largest, n_frames in _units(payload):
            one = max(one, largest)
            total += one * n_frames
            if one > MAX_ONE * n_px + SLACK_PX or total > MAX_ALL * (n_px + SLACK_PX):
                raise TooLarge(f"AVIF image codes at least {max(one, total)} pixels for a picture of {n_px}")
    except (ValueError, struct.error, KeyError) as error:
        raise UndecodableImage(f"AVIF image: {error}") from error
    if not total:
        raise UndecodableImage("AVIF image: there is no coded picture in it")


def _units(payload: bytes) -> Iterator[tuple[int, int]]:
    n_units = 0
    for piece in av1_pieces(payload, boxes_of(payload)):
        for unit in coded_pictures(memoryview(piece)):
            n_units += 1
            if n_units > MAX_UNITS:
                raise TooLarge(f"AVIF image has over {MAX_UNITS} units of AV1")
            yield unit

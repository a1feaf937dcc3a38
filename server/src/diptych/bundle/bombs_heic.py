"""Bound what the HEVC inside a HEIC file may cost its decoder; knows nothing of pixels.

As in AVIF, the size that the file names is not that of the pictures inside: tiles may be larger, many, and
used many times over, and what is put together from them may be put together again.
"""

import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from diptych.bundle.bombs_avif import MAX_ALL, MAX_ONE, SLACK_PX
from diptych.bundle.heif import Box, Piece, boxes_of, item_pieces, parts, properties
from diptych.bundle.hevc import coded_pictures, largest_picture
from diptych.errors import TooLarge, UndecodableImage

MAX_CODED_ITEMS = 4_096  # tiles of one picture, its thumbnails and its maps; a phone writes 50
MAX_UNITS = 20_000  # of HEVC in all: a tile has one or a few
_CODED = b"hvc1"
_CANVASES = {b"grid": 4, b"iovl": 10}  # put together from others, and where their data has its size
_WIDE = 1  # flag: sizes have 4 bytes, not 2
_WIDE_IDS = 3  # version of an entry
_KIND_AT = (8, 10)  # in an entry, and in one with wide ids
_MAX_DEPTH = 8  # a grid is put together once, its tone map once more


def check_boxes(payload: bytes) -> None:
    """Raises TooLarge for more boxes and pictures inside than any honest file has, UndecodableImage.

    Kinds and names of items must be text: pi-heif 1.4 makes strings of them, and dies where that fails.
    """
    try:
        boxes = boxes_of(payload)
        for kind, body in boxes:
            if kind == b"infe":
                bytes(body[_KIND_AT[body[0] == _WIDE_IDS] :]).decode()
    except (ValueError, struct.error, IndexError) as error:
        raise UndecodableImage(f"HEIC image: {error}") from error
    n_coded = sum(kind == b"infe" and body[8:12] in {_CODED, b"av01"} for kind, body in boxes)
    if n_coded > MAX_CODED_ITEMS:
        raise TooLarge(f"HEIC image has {n_coded} pictures inside, limit is {MAX_CODED_ITEMS}")


def check_coded(payload: bytes, n_px: int) -> None:
    """Raises TooLarge when much more is coded or put together than the `n_px` that are named.

    Raises UndecodableImage when the lists of what there is are damaged.
    """
    try:
        boxes = boxes_of(payload)
        coded, largest = _coded_px(payload, boxes)
        largest = max([largest, *_canvas_px(payload, boxes)])
        total = sum(coded.values()) + _put_together_px(coded, parts(boxes))
    except (ValueError, struct.error, IndexError) as error:
        raise UndecodableImage(f"HEIC image: {error}") from error
    if largest > MAX_ONE * n_px + SLACK_PX or total > MAX_ALL * (n_px + SLACK_PX):
        raise TooLarge(f"HEIC image codes at least {max(largest, total)} pixels for a picture of {n_px}")


def _coded_px(payload: bytes, boxes: list[Box]) -> "tuple[Counter[int], int]":
    """(item -> pixels that decoding all that is coded in it makes, those of the largest picture)."""
    configurations = properties(boxes, b"hvcC")
    found: Counter[int] = Counter()
    n_units = largest = 0
    for number, _, piece in item_pieces(payload, boxes, {_CODED}):
        one = max(map(largest_picture, configurations.get(number, ())), default=0)
        for larger, n_pictures in coded_pictures(memoryview(piece)):
            n_units += 1
            if n_units > MAX_UNITS:
                raise TooLarge(f"HEIC image has over {MAX_UNITS} units of HEVC")
            one = max(one, larger)
            found[number] += one * n_pictures
        largest = max(largest, one)
    return found, largest


def _canvas_px(payload: bytes, boxes: list[Box]) -> Iterator[int]:
    for _, kind, piece in item_pieces(payload, boxes, _CANVASES):
        yield _canvas(piece, _CANVASES[kind])


def _canvas(piece: Piece, at: int) -> int:
    width, height = struct.unpack_from(">II" if piece[1] & _WIDE else ">HH", piece, at)
    return int(width * height)


def _put_together_px(coded: Mapping[int, int], parts_of: Mapping[int, Sequence[int]]) -> int:
    """What it takes to put all items together that have parts; what is used twice is decoded twice."""
    known = dict(coded)

    def cost(number: int, depth: int) -> int:
        if depth > _MAX_DEPTH:
            raise ValueError(f"pictures are put together over {_MAX_DEPTH} times")
        if number not in known:
            known[number] = sum(cost(part, depth + 1) for part in parts_of.get(number, ()))
        return known[number]

    return sum(cost(number, 0) for number in parts_of)

"""The markers of a JPEG file, and whether its data end before its picture does.

libjpeg paints what is missing in a neutral grey, and Pillow does not pass its warning on.
"""

import io
import re
from collections.abc import Iterator
from itertools import islice

from PIL import Image

SOS, EOI = 0xDA, 0xD9
# Inside of a scan, neither a stuffed byte nor a restart marker is one.
_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_BARE = frozenset({0x01, 0xD8, *range(0xF0, 0xFE)})  # markers that no segment follows
_GREY = frozenset({127, 128})  # of each band; 127 where Pillow inverts the colours, as of CMYK
_MAX_MARKERS = 10_000  # walking over them takes milliseconds; files have dozens
# Data of some blocks that are not grey, whatever the codes mean: they begin with different bits.
_PIECES = tuple(bytes(range(first, 0xFF)) for first in range(7, 231, 28))


def markers(payload: bytes, start: int = 0) -> Iterator[tuple[int, int]]:
    """Yield each marker from `start` to EOI as (its code, where it begins). The data of scans lie between."""
    while (found := _MARKER.search(payload, start)) is not None:
        code = payload[found.start(1)]
        yield code, found.start()
        if code == EOI:
            return
        length = 0 if code in _BARE else int.from_bytes(payload[found.end() : found.end() + 2], "big")
        start = found.end() + length


def lacks_data(payload: bytes, image: Image.Image) -> bool:
    """Whether the file has too little data for the size in its header; `image` was decoded from it.

    Such a picture ends in grey. Where one does, the file is decoded with and without more data at the end of
    each scan, at an eighth of its size: a decoder that has all blocks ignores what follows.
    """
    last = image.getpixel((image.width - 1, image.height - 1))
    if not _GREY.issuperset(last if isinstance(last, tuple) else (last,)):
        return False
    return _pixels(payload) != _pixels(_extended(payload))


def _extended(payload: bytes) -> bytes:
    """The file with more data at the end of each scan, and the restart markers that may be missing there."""
    parts: list[bytes] = []
    done = 0
    data_from: int | None = None
    for code, begin in islice(markers(payload), _MAX_MARKERS):
        if data_from is not None:
            parts += [
                payload[done:begin],
                _more_data(sum(1 for _ in _RESTART.finditer(payload, data_from, begin))),
            ]
            done, data_from = begin, None
        if code == SOS:
            data_from = begin
    return b"".join([*parts, payload[done:]])


def _more_data(n_restarts: int) -> bytes:
    """Data for the interval that a scan ends in, and for the next ones; restart markers count up to 7."""
    following = (bytes([0xFF, 0xD0 + (n_restarts + i) % 8]) + piece for i, piece in enumerate(_PIECES))
    return b"".join([_PIECES[0], *following])


def _pixels(payload: bytes) -> bytes:
    with Image.open(io.BytesIO(payload), formats=["JPEG"]) as image:
        image.draft(None, (1, 1))
        image.load()
        return image.tobytes()

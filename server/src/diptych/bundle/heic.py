"""HEIC, as phones take photographs: read where its decoder is installed. Knows nothing of models.

The extra `heif` brings pi-heif: libheif and libde265, which only decode.
"""

import struct
from functools import cache
from importlib import import_module
from importlib.util import find_spec

from diptych.bundle.heif import boxes_of
from diptych.errors import TooLarge, UndecodableImage

DECODER = "pi_heif"
MISSING = (
    "HEIC images are not read by this installation: it lacks the extra `heif` (pip install 'server[heif]')"
)
_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis"})
MAX_CODED_ITEMS = 4_096  # tiles of one picture, its thumbnails and its maps; a phone writes 50


def is_heic(brands: set[bytes]) -> bool:
    """Whether an ISO media file that names these brands holds a still picture in HEVC."""
    return not brands.isdisjoint(_BRANDS)


@cache
def can_read() -> bool:
    """Whether the decoder is there; from then on Pillow opens its files, where they are allowed."""
    if find_spec(DECODER) is None:
        return False
    # One thread: pictures are decoded side by side, and what is beside the picture is not looked at.
    import_module(DECODER).register_heif_opener(
        thumbnails=False, depth_images=False, aux_images=False, decode_threads=1
    )
    return True


def check_structure(payload: bytes) -> None:
    """Raises TooLarge for more boxes and pictures inside than any honest file has, UndecodableImage."""
    try:
        boxes = boxes_of(payload)
    except (ValueError, struct.error) as error:
        raise UndecodableImage(f"HEIC image: {error}") from error
    n_coded = sum(kind == b"infe" and body[8:12] in {b"hvc1", b"av01"} for kind, body in boxes)
    if n_coded > MAX_CODED_ITEMS:
        raise TooLarge(f"HEIC image has {n_coded} pictures inside, limit is {MAX_CODED_ITEMS}")

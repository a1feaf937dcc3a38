"""HEIC, as phones take photographs: read where its decoder is installed. Knows nothing of models.

The extra `heif` brings pi-heif: libheif and libde265, which only decode.
"""

import logging
from functools import cache
from importlib import import_module
from importlib.util import find_spec

log = logging.getLogger(__name__)

DECODER = "pi_heif"
MISSING = (
    "HEIC images are not read by this installation: it lacks the extra `heif` (pip install 'server[heif]')"
)
BROKEN = "HEIC images are not read by this installation: its decoder, pi_heif, cannot be loaded, see the log"
_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis"})


def is_heic(brands: set[bytes]) -> bool:
    """Whether an ISO media file that names these brands holds a still picture in HEVC."""
    return not brands.isdisjoint(_BRANDS)


@cache
def why_not() -> str:
    """Why none is read; empty where the decoder is there: from then on Pillow opens its files, where they
    are allowed.
    """
    if find_spec(DECODER) is None:
        return MISSING
    try:
        # One thread: pictures are decoded side by side, and what is beside the picture is not looked at.
        import_module(DECODER).register_heif_opener(
            thumbnails=False, depth_images=False, aux_images=False, decode_threads=1
        )
    except Exception as error:  # a library of the system that it needs is missing, or it fits no other part
        log.warning("HEIC images are not read: %s cannot be loaded: %s", DECODER, error)
        return BROKEN
    return ""

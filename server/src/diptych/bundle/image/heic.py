"""HEIC, the format of phone photographs, which is decoded where the extra `heif` is installed.

The extra brings pi-heif: libheif and libde265, which only decode.
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
    """Whether an ISO media file with these brands holds a still picture coded in HEVC."""
    return not brands.isdisjoint(_BRANDS)


@cache
def why_unsupported() -> str:
    """The reason why this installation cannot decode HEIC; empty if it can.

    Registers the decoder with Pillow, which from then on opens HEIC files wherever its caller allows the
    format.
    """
    if find_spec(DECODER) is None:
        return MISSING
    try:
        # One thread: pictures are decoded in parallel. Thumbnails, depth and auxiliary images are not read.
        import_module(DECODER).register_heif_opener(
            thumbnails=False, depth_images=False, aux_images=False, decode_threads=1
        )
    except Exception as error:  # a system library is missing, or the versions do not fit
        log.warning("HEIC images are not read: %s cannot be loaded: %s", DECODER, error)
        return BROKEN
    return ""

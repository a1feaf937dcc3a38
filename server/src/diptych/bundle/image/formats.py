"""The supported image formats, and how a file's first bytes identify its format.

Identifying the format first means that only one decoder sees the bytes, and that a broken file of a known
format is distinguished from a file that is not an image.
"""

from typing import Literal

from diptych.bundle.image.heic import is_heic

ImageFormat = Literal["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIC"]

MEDIA_TYPES: dict[ImageFormat, str] = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "AVIF": "image/avif",
    "HEIC": "image/heic",
}

# The endings by which image files are recognised in folders, in lower case.
IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
)

# Formats with large, rarely used and young decoders, which the server runs in processes of their own.
ISOLATED: frozenset[ImageFormat] = frozenset({"TIFF", "AVIF", "HEIC"})

_PREFIXES: tuple[tuple[bytes, ImageFormat], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"BM", "BMP"),
)


def sniff(payload: bytes) -> ImageFormat | None:
    """The supported format that these bytes start with; None if there is none."""
    for prefix, image_format in _PREFIXES:
        if payload.startswith(prefix):
            return image_format
    if payload[:4] == b"RIFF" and payload[8:12] == b"WEBP":
        return "WEBP"
    return _sniff_iso(payload)


def _sniff_iso(payload: bytes) -> ImageFormat | None:
    """The format of an ISO media file by its brands, since AVIF and HEIC share this container."""
    if payload[4:8] != b"ftyp":
        return None
    n_bytes = min(int.from_bytes(payload[:4], "big"), 256)
    brands = {payload[8:12], *(payload[start : start + 4] for start in range(16, n_bytes, 4))}
    if not brands.isdisjoint({b"avif", b"avis"}):
        return "AVIF"
    return "HEIC" if is_heic(brands) else None

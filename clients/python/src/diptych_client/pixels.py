"""Encode images in memory as PNG files.

Imports neither Pillow nor NumPy: a caller who has such an image has the library already.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import IO, Any, Protocol, runtime_checkable

from diptych_client.errors import UnreadableFile

LEVEL = 1  # of compression: sending more bytes takes less time than compressing better
# modes of Pillow that a PNG file can have
MODES = frozenset({"1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA"})
UP = b"\x02"  # PNG filter: a row is stored as its difference to the row above


@runtime_checkable
class PillowImage(Protocol):
    """The part of `PIL.Image.Image` that is used."""

    @property
    def mode(self) -> str:
        """The mode, such as RGB."""

    def convert(self, mode: str) -> Any:
        """Return the image in another mode."""

    def getexif(self) -> Any:
        """Return the EXIF data."""

    def save(self, fp: IO[bytes], format: str | None = None, **params: Any) -> None:
        """Write the image to a file."""


@runtime_checkable
class PixelArray(Protocol):
    """The part of `numpy.ndarray` that is used: (H, W, 3) uint8, RGB."""

    @property
    def shape(self) -> Any:
        """(height, width, channels)."""

    @property
    def dtype(self) -> Any:
        """The type of a value, such as uint8."""

    def tobytes(self) -> bytes:
        """Return the pixels, row by row."""


def array_problem(array: PixelArray) -> str | None:
    """Return why an array is not an image; None if it is one."""
    shape = tuple(array.shape)
    if len(shape) == 3 and shape[2] == 3 and 0 not in shape and str(array.dtype) == "uint8":
        return None
    return f"is an array of shape {shape} and type {array.dtype}, must be (height, width, 3) of uint8"


def encode_png(image: PillowImage | PixelArray) -> bytes | UnreadableFile:
    """Return the image as a PNG file, or the error, so that a batch can go on without this image."""
    if isinstance(image, PixelArray):
        return _png_of_array(image)
    file = io.BytesIO()
    try:
        # EXIF has the orientation, which the server applies as it does for files.
        options = {"exif": image.getexif(), "compress_level": LEVEL}
        if image.mode in MODES:
            image.save(file, "PNG", **options)
        else:
            image.convert("RGB").save(file, "PNG", icc_profile=None, **options)
    except (OSError, ValueError) as error:
        return UnreadableFile(f"an image in memory cannot be written as PNG: {error}")
    return file.getvalue()


def _png_of_array(array: Any) -> bytes:
    height, width, _ = array.shape
    rows = array.tobytes()[: 3 * width] + (array[1:] - array[:-1]).tobytes()
    stride = 3 * width
    filtered = b"".join(UP + rows[start : start + stride] for start in range(0, height * stride, stride))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(filtered, LEVEL)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

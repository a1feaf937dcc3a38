"""Images in memory, as PNG files. Needs neither Pillow nor NumPy: whoever has such an image has those."""

from __future__ import annotations

import io
import struct
import zlib
from typing import IO, Any, Protocol, runtime_checkable

from diptych_client.errors import UnreadableFile

LEVEL = 1  # of compression: sending is faster than compressing well
MODES = frozenset({"1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA"})  # of Pillow, that a PNG file can have
UP = b"\x02"  # a row is written as its difference to the one above


@runtime_checkable
class PillowImage(Protocol):
    """What of a `PIL.Image.Image` is used."""

    @property
    def mode(self) -> str:
        """Such as RGB."""

    def convert(self, mode: str) -> Any:
        """The same image in another mode."""

    def getexif(self) -> Any:
        """What a camera noted."""

    def save(self, fp: IO[bytes], format: str | None = None, **params: Any) -> None:
        """Write a file."""


@runtime_checkable
class PixelArray(Protocol):
    """What of a `numpy.ndarray` is used: (H, W, 3) uint8, RGB."""

    @property
    def shape(self) -> Any:
        """Height, width, channels."""

    @property
    def dtype(self) -> Any:
        """Such as uint8."""

    def tobytes(self) -> bytes:
        """Its pixels, row by row."""


def fault_of(array: PixelArray) -> str | None:
    """Why an array is no image, or None."""
    shape = tuple(array.shape)
    if len(shape) == 3 and shape[2] == 3 and 0 not in shape and str(array.dtype) == "uint8":
        return None
    return f"is an array of shape {shape} and type {array.dtype}, must be (height, width, 3) of uint8"


def png_of(image: PillowImage | PixelArray) -> bytes | UnreadableFile:
    """The image as a PNG file, or why there is none: a batch goes on past an image that cannot be written."""
    if isinstance(image, PixelArray):
        return _png_of_array(image)
    file = io.BytesIO()
    try:
        # The turn that a camera noted goes along: the server heeds it, as that of a file.
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

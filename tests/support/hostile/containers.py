"""Build image files from valid or invalid parts."""

import io
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
TAG = tuple[int, int, int, int]  # TIFF: tag, type, count, value or offset


def scene(width: int = 48, height: int = 40, seed: int = 0, channels: int = 3) -> Image.Image:
    """Return a picture with smooth parts and noise, so that it exercises every coder."""
    y, x = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(seed).integers(0, 60, (height, width, channels))
    smooth = np.stack([x * 3 + 40 * i + y * (i + 1) for i in range(channels)], axis=-1) % 196
    pixels = (smooth + noise).astype(np.uint8)
    return Image.fromarray(pixels.squeeze(-1) if channels == 1 else pixels)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    """Encode the image as a file."""
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """Return a PNG chunk with its length and a correct checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_header(width: int, height: int, bits: int = 8, colour: int = 2, interlaced: int = 0) -> bytes:
    """Return the header chunk of a PNG."""
    return png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced))


def png(header: bytes, packed: bytes, *between: bytes) -> bytes:
    """Return a PNG of a header chunk, other chunks and compressed pixels."""
    pixels, end = png_chunk(b"IDAT", packed), png_chunk(b"IEND", b"")
    return b"".join([PNG_SIGNATURE, header, *between, pixels, end])


def with_chunks(file: bytes, *chunks: bytes, before: bytes = b"IDAT") -> bytes:
    """Insert chunks into a PNG."""
    at = file.index(before) - 4
    return file[:at] + b"".join(chunks) + file[at:]


def segment(marker: int, content: bytes) -> bytes:
    """Return a JPEG segment with its length."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def with_segments(file: bytes, *segments: bytes) -> bytes:
    """Insert segments after the first marker of a JPEG."""
    return file[:2] + b"".join(segments) + file[2:]


def jpeg_of_size(file: bytes, width: int, height: int) -> bytes:
    """Return a JPEG that claims another size and has the same content."""
    at = max(file.find(b"\xff\xc0"), file.find(b"\xff\xc2"))
    return file[: at + 5] + struct.pack(">HH", height, width) + file[at + 9 :]


def scans(file: bytes) -> tuple[bytes, bytes]:
    """Return a progressive JPEG without its end marker, and its last scan for repetition."""
    return file[:-2], file[file.rfind(b"\xff\xda") : -2]


def tiff(tags: Sequence[TAG], data: bytes = b"", following: int | None = 0) -> bytes:
    """Return a TIFF: data at offset 8, then the directory.

    `following` is the offset of the next directory; None is that of this one, which makes an endless chain.
    """
    at = 8 + len(data) + len(data) % 2
    folder = struct.pack("<H", len(tags))
    folder += b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    head = b"II*\0" + struct.pack("<I", at) + data
    return head.ljust(at, b"\0") + folder + struct.pack("<I", at if following is None else following)


def plain_tags(width: int, height: int, n_bytes: int, compression: int = 1) -> list[TAG]:
    """Return the tags of an 8-bit gray picture in one strip at the start of the data."""
    return [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8),
        (259, 3, 1, compression),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (277, 3, 1, 1),
        (278, 4, 1, height),
        (279, 4, 1, n_bytes),
    ]


def tile_tags(width: int, height: int, compression: int) -> list[TAG]:
    """Return `plain_tags` without the tags of the strip. The caller adds those of tiles."""
    return [tag for tag in plain_tags(width, height, 0, compression) if tag[0] not in {273, 278, 279}]


def changed(tags: Sequence[TAG], *others: TAG) -> list[TAG]:
    """Replace or add tags."""
    numbers = {tag[0] for tag in others}
    return [*(tag for tag in tags if tag[0] not in numbers), *others]


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """Return a WebP container."""
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
        for kind, content in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_canvas(width: int, height: int, flags: int = 2) -> tuple[bytes, bytes]:
    """Return the chunk with the size of an extended WebP. Flag 2 marks an animation."""
    return b"VP8X", bytes([flags, 0, 0, 0]) + _uint24(width - 1) + _uint24(height - 1)


def webp_frame(file: bytes, width: int, height: int) -> tuple[bytes, bytes]:
    """Return a simple WebP file as a frame of an animation."""
    head = bytes(6) + _uint24(width - 1) + _uint24(height - 1) + _uint24(40) + b"\0"
    return b"ANMF", head + file[12:]


def box(kind: bytes, *inside: bytes) -> bytes:
    """Return a box of an ISO media file."""
    body = b"".join(inside)
    return struct.pack(">I", len(body) + 8) + kind + body


def _uint24(number: int) -> bytes:
    return struct.pack("<I", number)[:3]

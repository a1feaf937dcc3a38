"""Damage image files at random, the same way for the same seed.

Random bytes mostly break a header or a checksum. Most mutations therefore keep a file's structure: they
change the content of chunks, segments and tags, correct lengths and checksums, and rarely touch the header.
"""

import random
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache

from PIL import Image

from support.hostile.containers import (
    PNG_SIGNATURE,
    encoded,
    plain_tags,
    png_chunk,
    riff,
    scene,
    tiff,
    tile_tags,
)
from support.hostile.heics import PLAIN, TURNED, grid
from support.hostile.others import bmp

Damage = Callable[[bytes, random.Random], bytes]
HEIC = "HEIC"  # where its decoder is installed
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "BMP")
_ARBITRARY_SHARE = 0.3
_NUMBERS = (0, 1, 2, 3, 7, 8, 16, 127, 128, 255, 256, 32_767, 32_768, 65_535, 2**31 - 1, 2**31, 2**32 - 1)


def mutated(seed: int, formats: Sequence[str] = FORMATS) -> tuple[str, bytes]:
    """Return (format, damaged file of it). Formats alternate with the seed."""
    form = formats[seed % len(formats)]
    rng = random.Random(seed)
    file = rng.choice(bases(form))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        damage = rng.choice(_ARBITRARY) if rng.random() < _ARBITRARY_SHARE else _STRUCTURED[form]
        file = damage(file, rng)
    return form, file


@cache
def bases(form: str) -> tuple[bytes, ...]:
    """Return small intact files of a format, each decoded in a different way."""
    image = scene(29, 23)
    return tuple(_BASES[form](image))


def _jpegs(image: Image.Image) -> Iterator[bytes]:
    yield encoded(image, "JPEG", quality=60)
    yield encoded(image, "JPEG", quality=95, subsampling=0)
    yield encoded(image, "JPEG", progressive=True)
    yield encoded(image.convert("L"), "JPEG", restart_marker_blocks=2)
    yield encoded(image.convert("CMYK"), "JPEG", quality=40)
    exif = Image.Exif()
    exif[0x0112] = 6
    yield encoded(scene(90, 70), "JPEG", quality=30, exif=exif, icc_profile=bytes(200))  # scaled by `fast`
    yield encoded(image, "MPO", save_all=True, append_images=[image])


def _pngs(image: Image.Image) -> Iterator[bytes]:
    yield encoded(image, "PNG")
    yield encoded(image.convert("RGBA"), "PNG")
    yield encoded(image.convert("L").quantize(4), "PNG", bits=2, transparency=b"\0\x80\xff")
    yield encoded(image.convert("1"), "PNG")
    yield encoded(image.convert("I;16"), "PNG")
    yield encoded(
        image, "PNG", save_all=True, append_images=[scene(29, 23, 1)], exif=b"Exif\0\0II*\0\x08\0\0\0"
    )


def _webps(image: Image.Image) -> Iterator[bytes]:
    yield encoded(image, "WEBP", quality=50)
    yield encoded(image, "WEBP", lossless=True)
    yield encoded(scene(29, 23, channels=4), "WEBP", quality=50)
    yield encoded(image, "WEBP", save_all=True, append_images=[scene(29, 23, 1)])


def _gifs(image: Image.Image) -> Iterator[bytes]:
    yield encoded(image.quantize(32), "GIF", interlace=False)
    yield encoded(image.quantize(8), "GIF", interlace=True, transparency=2, comment=b"hello")
    yield encoded(image.convert("L"), "GIF", save_all=True, append_images=[scene(29, 23, 1).convert("L")])


def _tiffs(image: Image.Image) -> Iterator[bytes]:
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma"):
        yield encoded(image, "TIFF", compression=compression)
    for compression in ("group3", "group4", "tiff_ccitt"):
        yield encoded(image.convert("1"), "TIFF", compression=compression)
    yield encoded(image.convert("RGBA"), "TIFF", compression="tiff_lzw", tiffinfo={317: 2})
    yield encoded(image.convert("YCbCr"), "TIFF", compression="jpeg")
    yield encoded(image.convert("I;16"), "TIFF")
    yield encoded(image.quantize(9), "TIFF", big_tiff=True)
    yield from _tiled()


def _tiled() -> Iterator[bytes]:
    """Return 64 x 64 pixels of noise in four tiles with shared bytes, in codecs that Pillow cannot write."""
    tile = random.Random(0).randbytes(32 * 32)
    shared = [(322, 4, 1, 32), (323, 4, 1, 32), (324, 4, 4, 8), (325, 4, 4, 24)]
    codes = {1: tile, 8: zlib.compress(tile), 7: encoded(scene(32, 32, channels=1), "JPEG")}
    for compression, packed in codes.items():
        lists = struct.pack("<4I", 40, 40, 40, 40) + struct.pack("<4I", *[len(packed)] * 4)
        yield tiff([*tile_tags(64, 64, compression), *shared], lists + packed)
    for compression in (6, 32_809, 34_676, 34_677, 50_001):
        yield tiff(plain_tags(64, 64, len(tile), compression), tile)


def _avifs(image: Image.Image) -> Iterator[bytes]:
    yield encoded(image, "AVIF", speed=10)
    yield encoded(scene(29, 23, channels=4), "AVIF", speed=10, subsampling="4:4:4")
    yield encoded(image.convert("L"), "AVIF", speed=10)
    yield encoded(image, "AVIF", speed=10, save_all=True, append_images=[scene(29, 23, 1)])


def _bmps(image: Image.Image) -> Iterator[bytes]:
    yield encoded(image, "BMP")
    yield encoded(image.quantize(9), "BMP")
    yield encoded(image.convert("1"), "BMP")
    yield bmp(29, 23, 8, 1, b"".join(b"\x1d" + bytes([row]) + b"\0\0" for row in range(23)) + b"\0\1")
    yield bmp(29, 23, 4, 2, b"".join(b"\x0d\x12\0\x08\x34\x56\x78\x9a\0\0" for _ in range(23)) + b"\0\1")


def _heics(image: Image.Image) -> Iterator[bytes]:
    yield PLAIN
    yield TURNED
    yield grid(2, 2, 128, 128)
    yield grid(3, 1, 60, 180)


_BASES: dict[str, Callable[[Image.Image], Iterator[bytes]]] = {
    "JPEG": _jpegs,
    "PNG": _pngs,
    "WEBP": _webps,
    "GIF": _gifs,
    "TIFF": _tiffs,
    "AVIF": _avifs,
    "BMP": _bmps,
    HEIC: _heics,
}


# Damage to arbitrary bytes


def _flip(file: bytes, rng: random.Random) -> bytes:
    return _flip_in(file, rng, 0, len(file))


def _flip_in(file: bytes, rng: random.Random, start: int, end: int) -> bytes:
    if start >= end:
        return file
    damaged = bytearray(file)
    for _ in range(rng.choice((1, 1, 2, 4, 12))):
        damaged[rng.randrange(start, end)] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _fill(file: bytes, rng: random.Random) -> bytes:
    start, length = _stretch(file, rng)
    filling = rng.choice((b"\0", b"\xff", b"\x80", rng.randbytes(1))) * length
    return file[:start] + rng.choice((filling, rng.randbytes(length))) + file[start + length :]


def _cut_off(file: bytes, rng: random.Random) -> bytes:
    return file[: rng.randrange(1, len(file) + 1)]


def _take_out(file: bytes, rng: random.Random) -> bytes:
    start, length = _stretch(file, rng)
    return file[:start] + file[start + length :]


def _put_in(file: bytes, rng: random.Random) -> bytes:
    start, length = _stretch(file, rng)
    return file[:start] + rng.choice((rng.randbytes(length), file[start : start + length])) + file[start:]


def _splice(file: bytes, rng: random.Random) -> bytes:
    """Join the beginning of one file and the end of another, of any format."""
    other = rng.choice(bases(rng.choice(FORMATS)))
    return file[: rng.randrange(len(file) + 1)] + other[rng.randrange(len(other)) :]


def _number(file: bytes, rng: random.Random) -> bytes:
    return _number_in(file, rng, 0, len(file))


def _number_in(file: bytes, rng: random.Random, start: int, end: int) -> bytes:
    """Overwrite 1, 2 or 4 bytes with a boundary value."""
    n_bytes = rng.choice((1, 2, 2, 4))
    if end - start < n_bytes:
        return file
    at = rng.randrange(start, end - n_bytes + 1)
    number = (rng.choice(_NUMBERS) % 256**n_bytes).to_bytes(n_bytes, rng.choice(("big", "little")))
    return file[:at] + number + file[at + n_bytes :]


def _stretch(file: bytes, rng: random.Random) -> tuple[int, int]:
    return rng.randrange(len(file) + 1), rng.choice((1, 2, 4, 16, 64, rng.randrange(1, 300)))


_ARBITRARY: tuple[Damage, ...] = (_flip, _flip, _fill, _cut_off, _take_out, _put_in, _splice, _number)


# Damage that keeps the format's structure


def _in_parts(parts: list[bytes], rng: random.Random) -> list[bytes]:
    """Repeat, remove or move one part."""
    parts = list(parts)
    i = rng.randrange(len(parts))
    how = rng.randrange(3)
    if how == 0:
        parts.insert(rng.randrange(len(parts) + 1), parts[i])
    elif how == 1 and len(parts) > 1:
        del parts[i]
    else:
        parts.insert(rng.randrange(len(parts)), parts.pop(i))
    return parts


def _inside(content: bytes, rng: random.Random) -> bytes:
    if not content:
        return content
    return rng.choice((_flip, _flip, _number, _fill))(content, rng)


def _jpeg(file: bytes, rng: random.Random) -> bytes:
    start = file.find(b"\xff\xda")
    if start < 0:
        return _flip(file, rng)
    if rng.random() < 0.4:  # what is coded: the pixels
        return _flip_in(file, rng, start + 14, len(file))
    segments, at = [], 2
    while at < start:
        length = 2 + int.from_bytes(file[at + 2 : at + 4], "big")
        segments.append(file[at : at + length])
        at += length
    if not segments or rng.random() < 0.25:
        parts = _in_parts(segments, rng) if segments else []
    else:
        parts = list(segments)
        i = rng.randrange(len(parts))
        content = _inside(parts[i][4:], rng)
        parts[i] = parts[i][:2] + struct.pack(">H", min(len(content) + 2, 65_535)) + content
    return b"".join([file[:2], *parts, file[at:]])


def _png(file: bytes, rng: random.Random) -> bytes:
    chunks, at = [], len(PNG_SIGNATURE)
    while at + 12 <= len(file):
        length = int.from_bytes(file[at : at + 4], "big")
        chunks.append((file[at + 4 : at + 8], file[at + 8 : at + 8 + length]))
        at += 12 + length
    if not chunks:
        return _flip(file, rng)
    i = rng.randrange(len(chunks))
    if rng.random() < 0.2:
        packed = _in_parts([png_chunk(*chunk) for chunk in chunks], rng)
        return PNG_SIGNATURE + b"".join(packed)
    kind, content = chunks[i]
    damage = _repacked if kind == b"IDAT" and rng.random() < 0.6 else _inside
    chunks[i] = kind, damage(content, rng)
    return PNG_SIGNATURE + b"".join(png_chunk(*chunk) for chunk in chunks)


def _repacked(content: bytes, rng: random.Random) -> bytes:
    """Damage the rows and compress them again, so that decompression succeeds."""
    try:
        return zlib.compress(_inside(zlib.decompress(content), rng), rng.randrange(10))
    except zlib.error:
        return _inside(content, rng)


def _webp(file: bytes, rng: random.Random) -> bytes:
    chunks, at = [], 12
    while at + 8 <= len(file):
        length = int.from_bytes(file[at + 4 : at + 8], "little")
        chunks.append((file[at : at + 4], file[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    if not chunks:
        return _flip(file, rng)
    if rng.random() < 0.15:
        i, j = rng.randrange(len(chunks)), rng.randrange(len(chunks))
        chunks[i], chunks[j] = chunks[j], chunks[i]
    else:
        i = rng.randrange(len(chunks))
        kind, content = chunks[i]
        keep = 10 if kind == b"VP8 " else 40 if kind == b"ANMF" else 0  # the frame's own header
        if rng.random() < 0.2:
            keep = 0
        chunks[i] = kind, content[:keep] + _inside(content[keep:], rng)
    return riff(*chunks)


def _gif(file: bytes, rng: random.Random) -> bytes:
    """Damage mostly the coded pixels after the palette."""
    start = 13 + (3 << (file[10] & 7) + 1 if len(file) > 10 and file[10] & 128 else 0)
    if rng.random() < 0.2:
        return _number_in(file, rng, 6, min(13, len(file)))
    if rng.random() < 0.3:
        return _number_in(file, rng, start, len(file))
    return _flip_in(file, rng, start, len(file))


def _tiff(file: bytes, rng: random.Random) -> bytes:
    """Damage one field of one tag, or the pixels."""
    if file[:4] != b"II*\0" or len(file) < 8 or rng.random() < 0.5:
        return _flip_in(file, rng, min(8, len(file)), len(file))
    at = int.from_bytes(file[4:8], "little")
    n_tags = int.from_bytes(file[at : at + 2], "little")
    tag = at + 2 + 12 * rng.randrange(max(n_tags, 1))
    start, end = rng.choice(((0, 2), (2, 4), (4, 8), (8, 10), (8, 12)))
    if tag + 12 > len(file):
        return _number(file, rng)
    return _number_in(file, rng, tag + start, tag + end)


def _avif(file: bytes, rng: random.Random) -> bytes:
    """Damage the coded pixels or a number in the boxes."""
    at = file.find(b"mdat")
    if at < 0:
        return _flip(file, rng)
    if rng.random() < 0.7:  # 12 bytes hold the sequence header, without which nothing begins
        return _flip_in(file, rng, min(at + rng.choice((4, 18, 24)), len(file)), len(file))
    return _number_in(file, rng, 32, at)


def _heic(file: bytes, rng: random.Random) -> bytes:
    """Damage the coded pixels, the parameter sets or a number in the boxes."""
    at, sets = file.find(b"mdat"), file.find(b"hvcC")
    if at < 0 or sets < 0:
        return _flip(file, rng)
    how = rng.random()
    if how < 0.5:  # 6 bytes are a length and the header of the unit
        return _flip_in(file, rng, min(at + rng.choice((4, 10, 14)), len(file)), len(file))
    if how < 0.75:
        return _flip_in(file, rng, sets + 4, sets + 118)
    return _number_in(file, rng, 32, at)


def _bmp(file: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.4:
        return _number_in(file, rng, 10, min(54, len(file)))
    return file[:54] + _inside(file[54:], rng)


_STRUCTURED: dict[str, Damage] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "WEBP": _webp,
    "GIF": _gif,
    "TIFF": _tiff,
    "AVIF": _avif,
    "BMP": _bmp,
    HEIC: _heic,
}

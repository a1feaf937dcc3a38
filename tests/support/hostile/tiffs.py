"""TIFF files that have crashed or exhausted decoders, or might."""

import struct
import zlib
from collections.abc import Iterator

from PIL import Image

from support.hostile.containers import (
    changed,
    encoded,
    jpeg_of_size,
    plain_tags,
    scans,
    scene,
    tiff,
    tile_tags,
)
from support.hostile.entry import ANY, DAMAGED, EITHER, FOREIGN, GOOD, TOO_LARGE, Hostile

SQUARE = bytes(range(256)) * 16  # 64 x 64


def tiffs() -> Iterator[Hostile]:
    """Yield all hostile TIFF files."""
    yield from _odd()
    yield from _broken()
    yield from _bombs()


def _odd() -> Iterator[Hostile]:
    yield Hostile("1x1 tiff", encoded(scene(1, 1), "TIFF"), GOOD)
    yield Hostile("cmyk tiff", encoded(scene().convert("CMYK"), "TIFF"), GOOD)
    yield Hostile("16-bit tiff", encoded(Image.new("I;16", (9, 9), 40_000), "TIFF"), GOOD)
    yield Hostile("bilevel tiff", encoded(scene(channels=1).convert("1"), "TIFF", compression="group4"), GOOD)
    for compression in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg", "zstd", "lzma"):
        yield Hostile(f"{compression} tiff", encoded(scene(), "TIFF", compression=compression), GOOD)
    yield Hostile("lab tiff", encoded(Image.new("LAB", (9, 9)), "TIFF"), FOREIGN)
    yield Hostile("float tiff", encoded(Image.new("F", (9, 9), 0.5), "TIFF"), FOREIGN)
    yield Hostile("32-bit tiff", encoded(Image.new("I", (9, 9), 5), "TIFF"), FOREIGN)
    yield Hostile("big tiff", encoded(scene(), "TIFF", big_tiff=True), GOOD)
    pages = [scene(seed=seed) for seed in range(20)]
    yield Hostile("tiff of 20 pages", encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:]), GOOD)


def _broken() -> Iterator[Hostile]:
    plain = plain_tags(64, 64, 4096)
    yield Hostile("tiff whose pages are a loop", tiff(plain, SQUARE, following=None), GOOD)
    yield Hostile("tiff, next page behind the end", tiff(plain, SQUARE, following=2**31), EITHER)
    yield Hostile(
        "tiff, exif that points at itself", tiff(changed(plain, (0x8769, 4, 1, 8 + 4096)), SQUARE), EITHER
    )
    yield Hostile("tiff without a directory", b"II*\0\x08\0\0\0", DAMAGED | FOREIGN)
    yield Hostile("tiff, directory behind the end", b"II*\0\xff\xff\xff\xff" + SQUARE, DAMAGED | FOREIGN)
    yield Hostile("tiff of 7000x7000 in 4 kB", tiff(plain_tags(7_000, 7_000, 4096), SQUARE), DAMAGED)
    yield Hostile("tiff, strips behind the end", tiff(changed(plain, (273, 4, 1, 2**31)), SQUARE), DAMAGED)
    yield Hostile(
        "tiff of 65535 samples", tiff(changed(plain, (277, 3, 1, 65_535)), SQUARE), DAMAGED | FOREIGN
    )
    yield Hostile("tiff, two widths", tiff([*plain, (256, 4, 1, 60_000)], SQUARE), ANY)
    small = encoded(scene(64, 64, channels=1), "JPEG")
    yield Hostile("tiff, jpeg larger than its strip", _jpeg_strip(jpeg_of_size(small, 9_999, 9_999)), DAMAGED)


def _bombs() -> Iterator[Hostile]:
    plain = plain_tags(64, 64, 4096)
    n = 500_000
    offsets = struct.pack("<I", 8) * n
    yield Hostile("tiff of 500000 strips", tiff(changed(plain, (273, 4, n, 8)), offsets), EITHER)
    numbers = changed(plain, (700, 5, n // 2, 8), (33_432, 12, n // 2, 8))
    yield Hostile("tiff of 500000 numbers", tiff(numbers, bytes(8 * (n // 2))), EITHER, heavy=True)
    tags = [*plain, *((tag, 2, 4_000, 8) for tag in range(1_000, 40_000))]
    yield Hostile("tiff of 40000 overlapping tags", tiff(tags, SQUARE), EITHER | TOO_LARGE, heavy=True)
    zeros = zlib.compress(bytes(10**6))
    tile = [(322, 4, 1, 20_000), (323, 4, 1, 20_000), (324, 4, 1, 8), (325, 4, 1, len(zeros))]
    in_a_tile = tiff([*tile_tags(64, 64, 8), *tile], zeros)
    yield Hostile("tiff of 64x64 in a tile of 20000x20000", in_a_tile, DAMAGED, heavy=True)
    yield Hostile("tiff of 60000x60000", tiff(plain_tags(60_000, 60_000, 4096), SQUARE), TOO_LARGE)
    yield Hostile("tiff of 4294967295x1", tiff(plain_tags(2**32 - 1, 1, 4096), SQUARE), TOO_LARGE | DAMAGED)
    head, scan = scans(encoded(scene(64, 64, channels=1), "JPEG", progressive=True))
    yield Hostile("tiff, jpeg of 5000 scans", _jpeg_strip(head + scan * 5_000 + b"\xff\xd9"), EITHER)
    yield Hostile("tiff, 4096 tiles share a jpeg of 90 scans", slow_tiff(64), EITHER, heavy=True)
    tile = encoded(scene(64, 64, channels=1), "JPEG")
    yield Hostile("tiff, 4096 tiles share a jpeg", _tiled(64, 7, tile), GOOD, heavy=True)
    yield Hostile("tiff of 62500 tiles", _tiled(250, 1, SQUARE[:256], edge=16), EITHER, heavy=True)


def slow_tiff(n_side: int) -> bytes:
    """Return a square of n_side x n_side tiles of 64 pixels, sharing a JPEG of almost 100 scans.

    It takes 190 ns a pixel or more, several times as much as an honest picture.
    """
    head, scan = scans(encoded(scene(64, 64, channels=1), "JPEG", progressive=True))
    return _tiled(n_side, 7, head + scan * 90)


def _jpeg_strip(strip: bytes) -> bytes:
    return tiff(plain_tags(64, 64, len(strip), 7), strip)


def _tiled(n_side: int, compression: int, tile: bytes, edge: int = 64) -> bytes:
    """Return a square of n_side x n_side tiles with the same bytes."""
    n, px = n_side**2, n_side * edge
    lists = struct.pack(f"<{2 * n}I", *[8 + 8 * n] * n, *[len(tile)] * n)
    tags = [(322, 4, 1, edge), (323, 4, 1, edge), (324, 4, n, 8), (325, 4, n, 8 + 4 * n)]
    return tiff([*tile_tags(px, px, compression), *tags], lists + tile)

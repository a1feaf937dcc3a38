"""GIF, WebP, AVIF and BMP files that have crashed or exhausted decoders, or might."""

import struct
from collections.abc import Iterator

from PIL import Image

from support.hostile.containers import box, encoded, riff, scene, webp_canvas, webp_frame
from support.hostile.entry import DAMAGED, EITHER, GOOD, TOO_LARGE, Hostile

GARBAGE = bytes(range(256)) * 4


def gifs() -> Iterator[Hostile]:
    """Yield all hostile GIF files."""
    plain = encoded(scene().quantize(64), "GIF")
    at = plain.index(b",", 13 + 3 * 64)  # the first picture
    yield Hostile("1x1 gif", encoded(scene(1, 1), "GIF"), GOOD)
    yield Hostile("interlaced gif", encoded(scene().quantize(9), "GIF", interlace=True), GOOD)
    yield Hostile("transparent gif", encoded(scene().quantize(9), "GIF", transparency=3), GOOD)
    frames = [scene(9, 9, seed).quantize(64) for seed in range(500)]
    yield Hostile(
        "gif of 500 frames", encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), GOOD
    )
    yield Hostile(
        "gif, picture larger than its screen", plain[:6] + struct.pack("<HH", 2, 2) + plain[10:], GOOD
    )
    yield Hostile(
        "gif, small picture on a screen of 7000x7000",
        plain[:6] + struct.pack("<HH", 7_000, 7_000) + plain[10:],
        EITHER,
        heavy=True,
    )
    yield Hostile("gif, screen of 65535x65535", plain[:6] + b"\xff" * 4 + plain[10:], TOO_LARGE)
    yield Hostile("gif, picture of 65535x65535", plain[: at + 5] + b"\xff" * 4 + plain[at + 9 :], TOO_LARGE)
    yield Hostile("gif of no size", plain[:6] + bytes(4) + plain[10:], EITHER)
    yield Hostile("gif without a picture", plain[:at] + b";", DAMAGED)
    yield Hostile("gif that is only a header", b"GIF89a", DAMAGED)
    yield Hostile("gif, code size 255", plain[: at + 10] + b"\xff" + plain[at + 11 :], DAMAGED)
    yield Hostile("gif, pixels of noise", plain[: at + 11] + (b"\xff" + GARBAGE[:255]) * 4 + b"\0;", EITHER)
    yield Hostile(
        "gif, half a megabyte of comment",
        plain[:at] + b"!\xfe" + b"\1x" * 500_000 + b"\0" + plain[at:],
        TOO_LARGE,
    )
    yield Hostile(
        "gif of 200000 extensions", plain[:at] + b"!\xf9\1\0\0" * 200_000 + plain[at:], TOO_LARGE | DAMAGED
    )
    yield Hostile("gif, a megabyte of junk", plain[:at] + b"\1" * 1_000_000 + plain[at:], TOO_LARGE)


def webps() -> Iterator[Hostile]:
    """Yield all hostile WebP files."""
    lossy, lossless = encoded(scene(), "WEBP"), encoded(scene(), "WEBP", lossless=True)
    yield Hostile("1x1 webp", encoded(scene(1, 1), "WEBP"), GOOD)
    yield Hostile("lossless webp", lossless, GOOD)
    yield Hostile("transparent webp", encoded(scene(channels=4), "WEBP"), GOOD)
    frames = [scene(9, 9, seed) for seed in range(100)]
    yield Hostile(
        "webp of 100 frames", encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]), GOOD
    )
    one, still = (b"ANIM", bytes(6)), encoded(scene(9, 9), "WEBP", lossless=True)
    many = [webp_frame(still, 9, 9)] * 20_000
    yield Hostile("webp of 20000 frames", riff(webp_canvas(9, 9), one, *many), GOOD)
    yield Hostile("webp, canvas of 13000x13000", riff(webp_canvas(13_000, 13_000), one, many[0]), TOO_LARGE)
    yield Hostile(
        "webp, canvas of 16777216x16777216",
        riff(webp_canvas(2**24, 2**24), one, many[0]),
        TOO_LARGE | DAMAGED,
    )
    yield Hostile(
        "webp, canvas of 7000x7000 around 9x9",
        riff(webp_canvas(7_000, 7_000), one, many[0]),
        GOOD,
        heavy=True,
    )
    yield Hostile("webp, frame larger than its canvas", riff(webp_canvas(3, 3), one, many[0]), DAMAGED)
    yield Hostile("webp without a picture", riff(webp_canvas(9, 9, 0)), DAMAGED)
    yield Hostile("webp of nothing", riff(), DAMAGED)
    yield Hostile("webp, lossy pixels of noise", lossy[:30] + GARBAGE, EITHER)
    yield Hostile("webp, lossless pixels of noise", lossless[:25] + GARBAGE, DAMAGED)
    yield Hostile("webp, wrong length", lossy[:4] + b"\xff" * 4 + lossy[8:], EITHER)
    chunks = [(b"EXIF", b"II*\0" + GARBAGE * 1_000), (b"ICCP", bytes(10**6)), (b"XMP ", b"<" * 10**6)]
    yield Hostile(
        "webp, metadata of 2 MB",
        riff(webp_canvas(48, 40, 0x2C), *chunks[1:2], (b"VP8L", lossless[20:]), chunks[0], chunks[2]),
        GOOD,
    )


def avifs() -> Iterator[Hostile]:
    """Yield all hostile AVIF files."""
    plain = encoded(scene(), "AVIF")
    yield Hostile("1x1 avif", encoded(scene(1, 1), "AVIF"), GOOD)
    yield Hostile("transparent avif", encoded(scene(channels=4), "AVIF"), GOOD)
    frames = [scene(16, 16, seed) for seed in range(5)]
    moving = encoded(frames[0], "AVIF", save_all=True, append_images=frames[1:])
    yield Hostile("avif of 5 frames", _timeless(moving), GOOD)
    large = encoded(Image.new("RGB", (4_000, 4_000), (9, 90, 200)), "AVIF", speed=10, quality=10)
    at = large.index(b"ispe") + 8
    hidden = large[:at] + struct.pack(">II", 64, 64) + large[at + 8 :]
    yield Hostile("avif of 64x64 that codes 4000x4000", hidden, EITHER)
    tile = encoded(scene(64, 64), "AVIF")
    yield Hostile("avif of a grid", avif_grid(tile, 3, 2, (180, 120), (64, 64)), GOOD)
    yield Hostile("avif, a grid of large tiles", avif_grid(large, 3, 2, (180, 120), (64, 64)), EITHER)
    at = plain.index(b"ispe") + 8
    yield Hostile(
        "avif of 60000x60000",
        plain[:at] + struct.pack(">II", 60_000, 60_000) + plain[at + 8 :],
        TOO_LARGE | DAMAGED,
    )
    yield Hostile("avif of no width", plain[:at] + bytes(4) + plain[at + 4 :], DAMAGED)
    yield Hostile("avif without a picture", plain[: plain.index(b"mdat") - 4], DAMAGED)
    yield Hostile("avif that is only a brand", box(b"ftyp", b"avif\0\0\0\0avif"), DAMAGED)
    yield Hostile("avif of 100000 boxes", plain + box(b"free") * 100_000, GOOD)
    items = box(b"infe", b"\2\0\0\0\0\1\0\0av01\0") * 20_000
    meta = box(b"meta", bytes(4), box(b"iinf", bytes(4) + struct.pack(">H", 20_000), items))
    yield Hostile("avif of 20000 items", box(b"ftyp", b"avif\0\0\0\0avifmif1") + meta, DAMAGED)
    yield Hostile("avif, pixels of noise", plain[: plain.index(b"mdat") + 4] + GARBAGE, DAMAGED)
    yield Hostile("avif, a box of 2 bytes", plain + b"\0\0\0\2free", EITHER)


def _timeless(file: bytes) -> bytes:
    """Remove the creation times, so that the file is reproducible."""
    for kind in (b"mvhd", b"tkhd", b"mdhd"):
        at = file.index(kind) + 8
        file = file[:at] + bytes(16) + file[at + 16 :]
    return file


def avif_grid(tile: bytes, columns: int, rows: int, size: tuple[int, int], named: tuple[int, int]) -> bytes:
    """Return an AVIF of this size whose tiles all hold another file's picture. It declares size `named`."""
    n = columns * rows
    width, height = size
    av1 = tile[tile.index(b"mdat") + 4 :]
    av1c_at = tile.index(b"av1C") - 4
    av1c = tile[av1c_at : av1c_at + int.from_bytes(tile[av1c_at : av1c_at + 4], "big")]
    sizes = [box(b"ispe", bytes(4), struct.pack(">II", *one)) for one in (size, named)]
    pixi = box(b"pixi", bytes(4), b"\3\x08\x08\x08")
    kinds = [b"grid"] + [b"av01"] * n
    entries = [
        box(b"infe", b"\2\0\0\0", struct.pack(">HH", i, 0), kind, b"\0")
        for i, kind in enumerate(kinds, start=1)
    ]
    used = [struct.pack(">HBBB", 1, 2, 1, 2)] + [
        struct.pack(">HBBBB", i, 3, 3, 2, 0x84) for i in range(2, n + 2)
    ]
    grid = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)
    lists = [
        box(b"hdlr", bytes(8), b"pict", bytes(13)),
        box(b"pitm", bytes(4), struct.pack(">H", 1)),
        box(b"iinf", bytes(4), struct.pack(">H", n + 1), *entries),
        box(b"iref", bytes(4), box(b"dimg", struct.pack(f">HH{n}H", 1, n, *range(2, n + 2)))),
        box(
            b"iprp",
            box(b"ipco", sizes[0], pixi, sizes[1], av1c),
            box(b"ipma", bytes(4), struct.pack(">I", n + 1), *used),
        ),
    ]
    brand = box(b"ftyp", b"avif", bytes(4), b"avifmif1miafMA1B")
    iloc_bytes = 8 + 8 + (n + 1) * 14
    at = len(brand) + 12 + sum(map(len, lists)) + iloc_bytes + 8  # where the data begins
    places = [(at, len(grid))] + [(at + len(grid), len(av1))] * n
    located = b"".join(struct.pack(">HHHII", i, 0, 1, *place) for i, place in enumerate(places, start=1))
    iloc = box(b"iloc", bytes(4), b"\x44\0", struct.pack(">H", n + 1), located)
    assert len(iloc) == iloc_bytes
    return brand + box(b"meta", bytes(4), *lists, iloc) + box(b"mdat", grid, av1)


def bmps() -> Iterator[Hostile]:
    """Yield all hostile BMP files."""
    plain = encoded(scene(), "BMP")
    yield Hostile("1x1 bmp", encoded(scene(1, 1), "BMP"), GOOD)
    yield Hostile("run-length bmp", bmp(8, 4, 8, 1, b"\x08\1\0\0" * 4 + b"\0\1"), GOOD)
    yield Hostile("bmp upside down", plain[:22] + struct.pack("<i", -40) + plain[26:], GOOD)
    yield Hostile(
        "bmp of negative width", plain[:18] + struct.pack("<i", -48) + plain[22:], TOO_LARGE | DAMAGED
    )
    yield Hostile(
        "bmp of 65535x65535", plain[:18] + struct.pack("<ii", 65_535, 65_535) + plain[26:], TOO_LARGE
    )
    yield Hostile(
        "bmp of 7000x7000 in 6 kB", plain[:18] + struct.pack("<ii", 7_000, 7_000) + plain[26:], DAMAGED
    )
    yield Hostile("bmp of no size", plain[:18] + bytes(8) + plain[26:], EITHER)
    yield Hostile("bmp of 3 bits", plain[:28] + b"\3" + plain[29:], DAMAGED)
    yield Hostile("bmp, jpeg inside", plain[:30] + b"\4" + plain[31:], DAMAGED)
    yield Hostile("bmp, header of 4 GB", plain[:14] + b"\xff" * 4 + plain[18:], DAMAGED)
    yield Hostile("bmp that is only a signature", b"BM", DAMAGED)
    yield Hostile("run-length bmp of 7000x7000", bmp(7_000, 7_000, 4, 2, b"\xff\x12" * 28), TOO_LARGE)
    yield Hostile(
        "run-length bmp of 65535x700, ends of lines",
        bmp(65_000, 150, 8, 1, b"\1\1\0\0" * 150),
        EITHER,
        heavy=True,
    )
    yield Hostile(
        "run-length bmp that goes nowhere", bmp(100, 100, 8, 1, b"\0\0" * 2_500_000), TOO_LARGE, heavy=True
    )


def bmp(width: int, height: int, bits: int, compression: int, pixels: bytes) -> bytes:
    """Return a BMP with a palette of colours that are almost gray."""
    palette = b"".join(bytes([i, i, 255 - i, 0]) for i in range(1 << bits))
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 1 << bits, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 54 + len(palette)) + info + palette + pixels

"""PNG files that have crashed or exhausted decoders, or might."""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from support.hostile.containers import PNG_SIGNATURE, encoded, png, png_chunk, png_header, scene, with_chunks
from support.hostile.entry import DAMAGED, EITHER, GOOD, TOO_LARGE, Hostile


def pngs() -> Iterator[Hostile]:
    """Yield all hostile PNG files."""
    plain = encoded(scene(), "PNG")
    yield from _odd()
    yield from _metadata(plain)
    yield from _broken(plain)
    yield from _bombs(plain)


def _odd() -> Iterator[Hostile]:
    yield Hostile("1x1 png", encoded(scene(1, 1), "PNG"), GOOD)
    yield Hostile("1x30000 png", encoded(scene(1, 30_000), "PNG"), GOOD)
    yield Hostile("16-bit gray png", encoded(Image.fromarray(_deep(1)[..., 0]), "PNG"), GOOD)
    for colour, n_channels in ((2, 3), (4, 2), (6, 4)):
        rows = b"".join(b"\0" + row.tobytes() for row in _deep(n_channels).astype(">u2"))
        yield Hostile(
            f"16-bit png of colour type {colour}",
            png(png_header(48, 40, 16, colour), zlib.compress(rows)),
            GOOD,
        )
    for bits in (1, 2, 4):
        image = scene(channels=1).quantize(1 << bits)
        yield Hostile(f"palette png of {bits} bits", encoded(image, "PNG", bits=bits), GOOD)
    yield Hostile("bilevel png", encoded(scene(channels=1).convert("1"), "PNG"), GOOD)
    yield Hostile(
        "palette png with tRNS", encoded(scene().quantize(31), "PNG", transparency=bytes(range(31))), GOOD
    )
    yield Hostile("png with a transparent colour", encoded(scene(), "PNG", transparency=(3, 2, 1)), GOOD)
    yield Hostile("transparent png", encoded(Image.new("RGBA", (9, 9)), "PNG"), GOOD)
    passes = _interlaced_rows(scene(48, 40))
    yield Hostile("interlaced png", png(png_header(48, 40, interlaced=1), zlib.compress(passes)), GOOD)
    frames = [scene(seed=seed) for seed in range(30)]
    yield Hostile("animated png", encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]), GOOD)


def _metadata(plain: bytes) -> Iterator[Hostile]:
    yield Hostile(
        "png, exif of 3 MB",
        with_chunks(plain, png_chunk(b"eXIf", b"II*\0\x08\0\0\0\0\0" + bytes(3_000_000))),
        GOOD,
    )
    yield Hostile("png, exif of noise", with_chunks(plain, png_chunk(b"eXIf", bytes(range(256)))), GOOD)
    tags = b"".join(struct.pack("<HHII", tag, 5, 300_000, 0) for tag in range(1, 60_000))
    exif = b"II*\0\x08\0\0\0" + struct.pack("<H", 59_999) + tags + bytes(4) + bytes(2_400_000)
    yield Hostile("png, exif of 60000 overlapping tags", with_chunks(plain, png_chunk(b"eXIf", exif)), GOOD)
    yield Hostile(
        "png, profile of noise", with_chunks(plain, png_chunk(b"iCCP", b"name\0\0" + bytes(5_000))), GOOD
    )
    yield Hostile(
        "png, a megabyte of text", with_chunks(plain, png_chunk(b"tEXt", b"key\0" + b"x" * 1_000_000)), GOOD
    )
    raw = png_chunk(b"tEXt", b"Raw profile type exif\0\nexif\n   4\n" + b"zz" * 100)
    yield Hostile("png, exif as broken text", with_chunks(plain, raw), GOOD)
    yield Hostile(
        "png, private chunk of 5 MB", with_chunks(plain, png_chunk(b"prVt", bytes(5_000_000))), GOOD
    )


def _broken(plain: bytes) -> Iterator[Hostile]:
    rows = zlib.compress((b"\0" + bytes(30)) * 10)
    wrong = bytearray(plain)
    wrong[29] ^= 1
    yield Hostile("png, wrong checksum of its header", bytes(wrong), DAMAGED)
    yield Hostile("png that is only a header", PNG_SIGNATURE + png_header(10, 10), DAMAGED)
    yield Hostile("png that is only a signature", PNG_SIGNATURE, DAMAGED)
    yield Hostile("png without pixels", png(png_header(10, 10), b""), DAMAGED)
    yield Hostile("png, pixels not packed", png(png_header(10, 10), b"nonsense" * 9), DAMAGED)
    yield Hostile("png with too few rows", png(png_header(10, 1000), rows), EITHER)
    yield Hostile("png of 7000x7000 in 100 bytes", png(png_header(7_000, 7_000), rows), DAMAGED)
    yield Hostile("png of no width", png(png_header(0, 10), rows), DAMAGED)
    yield Hostile("png of negative height", png(png_header(10, 2**32 - 10), rows), TOO_LARGE | DAMAGED)
    yield Hostile("png of 3 bits", png(png_header(10, 10, 3), rows), DAMAGED)
    yield Hostile("png of colour type 5", png(png_header(10, 10, 8, 5), rows), DAMAGED)
    yield Hostile(
        "png, filter 9", png(png_header(10, 10), zlib.compress((b"\x09" + bytes(30)) * 10)), DAMAGED
    )
    yield Hostile(
        "png, palette missing", png(png_header(10, 10, 8, 3), zlib.compress((b"\0" + bytes(10)) * 10)), EITHER
    )
    palette = png_chunk(b"PLTE", bytes(3))
    beyond = zlib.compress((b"\0" + bytes(range(200, 210))) * 10)
    yield Hostile("png, colours beyond its palette", png(png_header(10, 10, 8, 3), beyond, palette), EITHER)
    yield Hostile(
        "png, palette of 10 MB",
        png(png_header(10, 10, 8, 3), beyond, png_chunk(b"PLTE", bytes(10**7))),
        DAMAGED,
    )
    yield Hostile("png, tRNS too short", with_chunks(plain, png_chunk(b"tRNS", b"\0")), DAMAGED)
    yield Hostile(
        "png, chunk longer than the file", plain[:33] + b"\x7f\xff\xff\xffIDAT" + plain[41:], EITHER
    )
    yield Hostile(
        "png, animation that ends in its first frame",
        with_chunks(plain, png_chunk(b"acTL", struct.pack(">II", 5, 0)), png_chunk(b"fcTL", bytes(3))),
        DAMAGED,
    )
    frame = struct.pack(">IIIIIHHBB", 0, 9_999, 9_999, 5, 5, 1, 1, 0, 0)
    yield Hostile(
        "png, frame outside its canvas",
        with_chunks(plain, png_chunk(b"acTL", struct.pack(">II", 2**31, 0)), png_chunk(b"fcTL", frame)),
        DAMAGED,
    )


def _bombs(plain: bytes) -> Iterator[Hostile]:
    packed = zlib.compressobj(9)
    zeros = b"".join(packed.compress(bytes(10**6)) for _ in range(100)) + packed.flush()  # 100 kB for 100 MB
    yield Hostile("png of 10000x10000", png(png_header(10_000, 10_000, 1, 0), zeros), TOO_LARGE)
    yield Hostile("png of 2147483647x2147483647", png(png_header(2**31 - 1, 2**31 - 1), zeros), TOO_LARGE)
    yield Hostile("png of 700000x1", png(png_header(700_000, 1), zeros), TOO_LARGE)
    yield Hostile("png of 7000x7000", png(png_header(7_000, 7_000, 8, 0), zeros), GOOD, heavy=True)
    yield Hostile("png of 10x10 with 100 MB of pixels", png(png_header(10, 10), zeros), EITHER)
    text = png_chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(900_000), 9))
    yield Hostile("png, text of 90 MB", with_chunks(plain, *[text] * 100), DAMAGED)
    yield Hostile(
        "png, text of 90 MB behind its pixels", with_chunks(plain, *[text] * 100, before=b"IEND"), DAMAGED
    )
    yield Hostile(
        "png, one text of 100 MB", with_chunks(plain, png_chunk(b"zTXt", b"key\0\0" + zeros)), DAMAGED
    )
    yield Hostile(
        "png, translated text of 100 MB",
        with_chunks(plain, png_chunk(b"iTXt", b"key\0\1\0\0\0" + zeros)),
        DAMAGED,
    )
    yield Hostile(
        "png, profile of 100 MB", with_chunks(plain, png_chunk(b"iCCP", b"key\0\0" + zeros)), DAMAGED
    )
    yield Hostile(
        "png of 200000 empty chunks", with_chunks(plain, png_chunk(b"prVt", b"") * 200_000), TOO_LARGE
    )
    yield Hostile(
        "png, pixels in 200000 chunks", with_chunks(plain, png_chunk(b"IDAT", b"") * 200_000), TOO_LARGE
    )


def _deep(n_channels: int) -> "np.ndarray[tuple[int, int, int], np.dtype[np.uint16]]":
    return np.asarray(scene(channels=3)).astype(np.uint16)[..., [0, 1, 2, 0][:n_channels]] * 257


def _interlaced_rows(image: Image.Image) -> bytes:
    """Return the rows of the seven passes of Adam7, each row preceded by its filter."""
    pixels = np.asarray(image)
    passes = [
        (0, 8, 0, 8),
        (0, 8, 4, 8),
        (4, 8, 0, 4),
        (0, 4, 2, 4),
        (2, 4, 0, 2),
        (0, 2, 1, 2),
        (1, 2, 0, 1),
    ]
    return b"".join(
        b"\0" + row.tobytes() for top, down, left, right in passes for row in pixels[top::down, left::right]
    )

"""JPEG files that have crashed or exhausted decoders, or might."""

import struct
from collections.abc import Iterator

from PIL import Image

from support.hostile.containers import encoded, jpeg_of_size, scans, scene, segment, with_segments
from support.hostile.entry import DAMAGED, EITHER, GOOD, TOO_LARGE, Hostile

ORIENTATION = 0x0112
XMP = b"http://ns.adobe.com/xap/1.0/\0"


def jpegs() -> Iterator[Hostile]:
    """Yield all hostile JPEG files."""
    plain = encoded(scene(), "JPEG")
    yield from _odd(plain)
    yield from _metadata(plain)
    yield from _broken(plain)
    yield from _bombs(plain)


def _odd(plain: bytes) -> Iterator[Hostile]:
    yield Hostile("1x1 jpeg", encoded(scene(1, 1), "JPEG"), GOOD)
    yield Hostile("30000x1 jpeg", encoded(scene(30_000, 1), "JPEG"), GOOD)
    yield Hostile("gray jpeg", encoded(scene(channels=1), "JPEG"), GOOD)
    yield Hostile("cmyk jpeg", encoded(scene().convert("CMYK"), "JPEG"), GOOD)
    yield Hostile("progressive jpeg", encoded(scene(), "JPEG", progressive=True), GOOD)
    yield Hostile("jpeg with restarts", encoded(scene(), "JPEG", restart_marker_blocks=1), GOOD)
    pictures = [scene(seed=seed) for seed in range(3)]
    yield Hostile(
        "multi-picture jpeg", encoded(pictures[0], "MPO", save_all=True, append_images=pictures[1:]), GOOD
    )
    yield Hostile("jpeg and a megabyte behind it", plain + bytes(range(256)) * 4096, GOOD)
    yield Hostile("jpeg and a video behind it", plain + b"\0\0\0\x18ftypmp42" + b"\xff\xda\0" * 300_000, GOOD)
    yield Hostile("jpeg twice", plain + plain, GOOD)


def _metadata(plain: bytes) -> Iterator[Hostile]:
    for turn in (*range(10), 65_535):
        exif = Image.Exif()
        exif[ORIENTATION] = turn
        yield Hostile(f"jpeg, orientation {turn}", encoded(scene(), "JPEG", exif=exif), GOOD)
    for name, exif_bytes in _garbage_exif().items():
        yield Hostile(
            f"jpeg, exif {name}", with_segments(plain, segment(0xE1, b"Exif\0\0" + exif_bytes)), GOOD
        )
    icc = [segment(0xE2, b"ICC_PROFILE\0" + bytes([i + 1, 40]) + bytes(65_000)) for i in range(40)]
    yield Hostile("jpeg, profile of 2.6 MB", with_segments(plain, *icc), GOOD)
    yield Hostile("jpeg, profile with holes", with_segments(plain, *icc[3:7]), GOOD)
    xmp = segment(0xE1, XMP + b"<x:xmpmeta tiff:Orientation=" + b'"' * 60_000)
    yield Hostile("jpeg, broken xmp", with_segments(plain, xmp), GOOD)
    photoshop = segment(0xED, b"Photoshop 3.0\0" + b"8BIM\x03\xed\0\0\0\0\0\x02\0\0" * 4_000)
    yield Hostile("jpeg, photoshop resources", with_segments(plain, photoshop), EITHER)
    yield Hostile(
        "jpeg, multi-picture index of nonsense",
        with_segments(plain, segment(0xE2, b"MPF\0" + b"II*\0" * 9)),
        EITHER,
    )
    yield Hostile(
        "jpeg, comments", with_segments(plain, *[segment(0xFE, b"<script>alert(1)</script>")] * 300), GOOD
    )


def _garbage_exif() -> dict[str, bytes]:
    loop = (
        b"II*\0\x08\0\0\0"
        + struct.pack("<H", 1)
        + struct.pack("<HHII", 0x8769, 4, 1, 8)
        + struct.pack("<I", 8)
    )
    many = b"".join(struct.pack("<HHII", tag, 2, 60_000, 0) for tag in range(5_000))
    numbers = struct.pack("<HHII", ORIENTATION, 3, 30_000, 26) + bytes(4) + b"\6\0" * 30_000
    return {
        "cut off": b"II*\0\x08\0\0\0\xff\xff",
        "empty": b"",
        "noise": bytes(range(1, 256)) * 8,
        "that points at itself": loop,
        "behind the end": b"MM\0*\xff\xff\xff\xf0",
        "of 5000 overlapping tags": b"II*\0\x08\0\0\0" + struct.pack("<H", 5_000) + many + bytes(4),
        "of 64 kB": b"II*\0\x08\0\0\0\0\0\0\0\0\0" + bytes(65_000),
        "with 30000 orientations": b"II*\0\x08\0\0\0" + struct.pack("<H", 1) + numbers,
        "of another type": b"II*\0\x08\0\0\0" + struct.pack("<HHHIIH", 1, ORIENTATION, 2, 4, 0x41414141, 0),
    }


def _broken(plain: bytes) -> Iterator[Hostile]:
    start = plain.index(b"\xff\xda")
    yield Hostile("jpeg of 7000x7000 in 2 kB", jpeg_of_size(plain, 7_000, 7_000), EITHER, heavy=True)
    yield Hostile("jpeg of no width", jpeg_of_size(plain, 0, 40), DAMAGED)
    yield Hostile("jpeg of no height", jpeg_of_size(plain, 48, 0), DAMAGED)
    yield Hostile("jpeg without scans", plain[:start] + b"\xff\xd9", DAMAGED)
    yield Hostile("jpeg that is only a marker", b"\xff\xd8\xff", DAMAGED)
    yield Hostile("jpeg of 12 bits", plain.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c"), DAMAGED)
    yield Hostile("lossless jpeg", plain.replace(b"\xff\xc0", b"\xff\xc3", 1), DAMAGED)
    yield Hostile("arithmetic jpeg", plain.replace(b"\xff\xc0", b"\xff\xc9", 1), EITHER)
    yield Hostile(
        "jpeg of two components",
        plain.replace(b"\xff\xc0\0\x11\x08\0\x28\0\x30\x03", b"\xff\xc0\0\x11\x08\0\x28\0\x30\x02"),
        DAMAGED,
    )
    yield Hostile("jpeg without tables", plain[:2] + plain[plain.index(b"\xff\xc0") :], EITHER)
    yield Hostile("jpeg, segment behind the end", plain[:2] + b"\xff\xe0\xff\xff" + plain[2:900], DAMAGED)
    yield Hostile("jpeg, pixels of noise", plain[: start + 14] + bytes(b % 255 for b in range(4_000)), EITHER)


def _bombs(plain: bytes) -> Iterator[Hostile]:
    yield Hostile("jpeg of 65500x65500", jpeg_of_size(plain, 65_500, 65_500), TOO_LARGE)
    flat = encoded(Image.new("L", (7_000, 7_000), 128), "JPEG", progressive=True)
    head, scan = scans(flat)
    yield Hostile("jpeg of 10000 scans", head + scan * 10_000 + b"\xff\xd9", TOO_LARGE)
    small_head, small_scan = scans(encoded(scene(channels=1), "JPEG", progressive=True))
    yield Hostile("small jpeg of 60000 scans", small_head + small_scan * 60_000 + b"\xff\xd9", TOO_LARGE)
    tables = segment(0xFE, b"") * 500_000
    yield Hostile(
        "jpeg, comments between scans",
        small_head + (small_scan + tables) * 2 + b"\xff\xd9",
        EITHER | TOO_LARGE,
    )
    exif = segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\0\0")
    yield Hostile("jpeg of 100000 exif segments", with_segments(plain, exif * 100_000), TOO_LARGE)
    yield Hostile(
        "jpeg of 500000 empty segments", with_segments(plain, segment(0xFE, b"") * 500_000), TOO_LARGE
    )
    yield Hostile("jpeg of a million fill bytes", with_segments(plain, b"\xff" * 1_000_000), TOO_LARGE)
    yield Hostile(
        "jpeg of a million bytes of junk",
        with_segments(plain, segment(0xFE, b""), bytes(1_000_000)),
        TOO_LARGE,
    )

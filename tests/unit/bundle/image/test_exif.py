"""Date, camera, lens and place of photographs; whatever EXIF holds, the picture itself is sound."""

import random
import struct
import warnings
from typing import Any

import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from diptych.bundle.image.decode import ImageLimits, probe
from diptych.bundle.image.exif import MAX_TAGS, MAX_TEXT_CHARS, NO_EXIF, Exif, read_exif
from support.hostile.heics import TURNED
from support.photographs import BASIC, DETAILS, PLACE, ROME, TAKEN, exif, photograph
from support.pictures import encoded, noise

ALL = Exif(**BASIC, **PLACE)
LIMITS = ImageLimits()


def details(**tags: Any) -> Exif:
    """The EXIF of a photograph with other details."""
    return read_exif(exif(details=tags).tobytes())


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "MPO"])
def test_every_format_gives_what_the_camera_recorded(form: str) -> None:
    info = probe(photograph(form=form), LIMITS)
    assert info.exif == ALL
    assert "41.89" not in repr(info)  # a place belongs in no log


def test_heic_gives_what_the_camera_recorded() -> None:
    block = exif().tobytes()
    at = TURNED.rindex(b"\0\0\0\x06Exif\0\0")
    item = b"\0\0\0\x06" + block
    n_more = len(item) - (len(TURNED) - at)
    file = TURNED[:at] + item
    for length in (struct.pack(">I", len(TURNED) - at), struct.pack(">I", 0x96)):  # of the item, of `mdat`
        where = file.index(length, file.index(b"iloc") if length[3] == 0x24 else file.index(b"mdat") - 4)
        new = struct.pack(">I", int.from_bytes(length, "big") + n_more)
        file = file[:where] + new + file[where + 4 :]
    assert probe(file, LIMITS).exif == ALL


def test_exif_after_the_pixels_of_a_png_is_read() -> None:
    whole, plain = photograph(form="PNG"), encoded(Image.new("RGB", (40, 32), (90, 120, 30)))
    begin = whole.index(b"eXIf") - 4
    chunk = whole[begin : begin + 12 + int.from_bytes(whole[begin : begin + 4], "big")]
    end = plain.rindex(b"IEND") - 4
    assert probe(plain[:end] + chunk + plain[end:], LIMITS).exif == ALL
    damaged = chunk[:-1] + bytes([chunk[-1] ^ 1])
    assert probe(plain[:end] + damaged + plain[end:], LIMITS).exif == NO_EXIF


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
def test_picture_without_exif_has_none(form: str) -> None:
    assert probe(noise(1, form=form), LIMITS).exif == NO_EXIF


@pytest.mark.parametrize(
    ("tags", "taken_at"),
    [
        ({"DateTimeOriginal": TAKEN}, "2024-05-01T10:11:12"),  # local time
        ({"DateTimeOriginal": TAKEN, "OffsetTimeOriginal": "-05:30"}, "2024-05-01T10:11:12-05:30"),
        ({"DateTimeOriginal": TAKEN, "OffsetTimeOriginal": "Z"}, "2024-05-01T10:11:12+00:00"),
        ({"DateTimeOriginal": TAKEN, "OffsetTimeOriginal": "   :  "}, "2024-05-01T10:11:12"),
        ({"DateTimeOriginal": TAKEN, "OffsetTimeOriginal": "+99:00"}, "2024-05-01T10:11:12"),
        ({"DateTimeOriginal": TAKEN, "SubsecTimeOriginal": "35"}, "2024-05-01T10:11:12"),
        ({"DateTimeOriginal": TAKEN + "\0junk"}, "2024-05-01T10:11:12"),
        ({"DateTimeOriginal": "2024-05-01 10:11:12"}, "2024-05-01T10:11:12"),
        ({"DateTimeOriginal": "2024-05-01T10:11:12.345"}, "2024-05-01T10:11:12"),
        ({"DateTimeOriginal": f"{TAKEN}Z"}, "2024-05-01T10:11:12+00:00"),
        ({"DateTimeOriginal": f"{TAKEN}.25 +02:00", "OffsetTimeOriginal": "Z"}, "2024-05-01T10:11:12+02:00"),
        ({"DateTimeOriginal": f"{TAKEN} in Rome"}, None),
        ({"DateTimeOriginal": TAKEN, "OffsetTime": "+02:00"}, "2024-05-01T10:11:12+02:00"),
        (
            {"DateTimeOriginal": TAKEN, "OffsetTimeOriginal": "-05:30", "OffsetTime": "+02:00"},
            "2024-05-01T10:11:12-05:30",
        ),
        ({"DateTimeOriginal": "1826:07:01 12:00:00"}, "1826-07-01T12:00:00"),
        ({"DateTimeOriginal": "1825:12:31 23:59:59"}, None),
        ({"DateTimeOriginal": "0001:01:01 00:00:00", "DateTimeDigitized": TAKEN}, "2024-05-01T10:11:12"),
        (
            {"DateTimeOriginal": "0000:00:00 00:00:00", "DateTimeDigitized": TAKEN, **DETAILS}
            | {"DateTimeOriginal": "0000:00:00 00:00:00"},
            "2024-05-01T10:11:12",  # the offset is that of another time
        ),
        ({"DateTimeDigitized": TAKEN, "OffsetTimeDigitized": "+09:00"}, "2024-05-01T10:11:12+09:00"),
        ({}, None),
        ({"DateTimeOriginal": "    :  :     :  :  "}, None),
        ({"DateTimeOriginal": "2024:02:30 10:11:12"}, None),
        ({"DateTimeOriginal": "2024:05:01 24:61:12"}, None),
        ({"DateTimeOriginal": "\0" * 20}, None),
        ({"DateTimeOriginal": b"\xff\xfe" * 10}, None),
        ({"DateTimeOriginal": "٢٠٢٤:05:01 10:11:12"}, None),
        ({"DateTimeOriginal": "last summer"}, None),
    ],
)
def test_date_is_the_one_when_the_picture_was_taken_or_none(
    tags: dict[str, Any], taken_at: str | None
) -> None:
    assert details(**tags).taken_at == taken_at


def test_time_of_a_change_is_no_date() -> None:
    assert read_exif(exif({"DateTime": TAKEN}, {}, {}).tobytes()) == NO_EXIF


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("Canon", "Canon EOS R5", "Canon EOS R5"),
        ("Apple", "iPhone 15", "Apple iPhone 15"),
        ("NIKON CORPORATION", "NIKON D850", "NIKON D850"),
        ("EASTMAN KODAK COMPANY", "KODAK DX7590", "KODAK DX7590"),
        ("samsung", "SAMSUNG-SM-G900", "SAMSUNG-SM-G900"),
        ("SONY", "ILCE-7M3", "SONY ILCE-7M3"),
        ("Canon", "", "Canon"),
        ("", "X100", "X100"),
        ("  Leica\r\n\x07", "Q2\0\0\0\0", "Leica Q2"),
        ("\u202eLeica", "Q2", "Leica Q2"),
        ("Müller", "Größe 1", "Müller Größe 1"),
        (" ", "\0", None),
        ("A" * 9_000, "B" * 9_000, "A" * MAX_TEXT_CHARS),
    ],
)
def test_camera_is_named_once(make: str, model: str, camera: str | None) -> None:
    tags = {"Make": make.encode(), "Model": model.encode()}
    assert read_exif(exif(tags, {}, {}).tobytes()).camera == camera


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({}, (41.890233, 12.4923)),
        ({"GPSLatitudeRef": "S", "GPSLongitudeRef": "W"}, (-41.890233, -12.4923)),
        ({"GPSLatitude": (0.0, 0.0, 0.0), "GPSLatitudeRef": "S"}, (0.0, 12.4923)),
        ({"GPSLatitude": (91.0, 0.0, 0.0)}, (None, None)),
        ({"GPSLongitude": (180.0, 0.0, 1.0)}, (None, None)),
        ({"GPSLatitude": (41.0, 61.0, 0.0)}, (None, None)),
        ({"GPSLatitude": (41.0, 53.0)}, (None, None)),
        ({"GPSLatitude": (IFDRational(0, 0),) * 3}, (None, None)),
        ({"GPSLatitudeRef": "X"}, (None, None)),
        ({"GPSLongitudeRef": ""}, (None, None)),
    ],
)
def test_place_is_whole_and_on_earth_or_absent(changes: dict[str, Any], place: Any) -> None:
    found = read_exif(exif({}, {}, dict(ROME) | changes).tobytes())
    assert (found.latitude, found.longitude) == place
    assert str(found.latitude) != "-0.0"


def test_texts_of_every_length_are_read() -> None:
    for n_chars in range(1, 12):  # up to four bytes lie in the entry itself
        assert details(LensModel="L" * n_chars).lens == "L" * n_chars


def test_both_byte_orders_are_read() -> None:
    big = struct.pack(">2sHIHHHI4sI", b"MM", 42, 8, 1, 0x0110, 2, 3, b"Q2\0\0", 0)
    assert read_exif(big) == read_exif(b"Exif\0\0" + big) == Exif(camera="Q2")


def test_directories_that_point_anywhere_are_read_to_an_end() -> None:
    itself = struct.pack("<2sHIHHHIIHHIII", b"II", 42, 8, 2, 0x8769, 4, 1, 8, 0x8825, 4, 1, 8, 0)
    assert read_exif(itself) == NO_EXIF
    outside = struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 0x8769, 4, 1, 0xFFFFFFFF, 0)
    assert read_exif(outside) == NO_EXIF


def test_only_the_first_tags_of_a_directory_are_looked_at() -> None:
    def block(n_before: int) -> bytes:
        others = struct.pack("<HHI4s", 0x0100, 3, 1, bytes(4)) * n_before
        return b"II*\0\x08\0\0\0\xff\xff" + others + struct.pack("<HHI4s", 0x0110, 2, 3, b"Q2\0\0")

    assert read_exif(block(MAX_TAGS - 1)).camera == "Q2"
    assert read_exif(block(MAX_TAGS)) == NO_EXIF


@pytest.mark.parametrize("block", [b"", b"Exif\0\0", b"II*\0", b"MM\0*\0\0\0", b"garbage" * 9, b"II+\0" * 9])
def test_what_is_no_exif_is_none(block: bytes) -> None:
    assert read_exif(block) == NO_EXIF


def test_damage_anywhere_raises_nothing_and_keeps_the_picture() -> None:
    block, draw = bytearray(exif().tobytes()), random.Random(0)
    for _ in range(3_000):
        damaged = bytearray(block[: draw.randint(0, len(block))] if draw.random() < 0.2 else block)
        for _ in range(draw.randint(1, 6)):
            if damaged:
                damaged[draw.randrange(len(damaged))] = draw.choice(
                    [0, 1, 4, 0x7F, 0xFF, draw.randrange(256)]
                )
        found = read_exif(bytes(damaged))
        assert found.latitude is None or abs(found.latitude) <= 90
        assert all(text.isprintable() for text in (found.camera, found.lens) if text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of the orientation
        assert probe(encoded(Image.new("RGB", (9, 9)), "JPEG", exif=bytes(damaged)), LIMITS).width == 9

"""The hostile corpus through the decoder: what each file must come to, and what bounds its time."""

import io
import struct
import time

import pytest
from PIL import Image

from diptych.bundle import bombs_jpeg
from diptych.bundle.av1 import coded_pictures
from diptych.bundle.bombs_avif import check_coded
from diptych.bundle.heif import av1_pieces, boxes_of
from diptych.bundle.image import ImageLimits, load_pixels, probe, thumbnail
from diptych.bundle.metered import MeteredFile
from diptych.errors import InputError, TooLarge, UndecodableImage, UnsupportedImage
from support.hostile.containers import encoded, jpeg_of_size, scans, scene, segment, with_segments
from support.hostile.corpus import corpus, good
from support.hostile.entry import GOOD, Hostile
from unit.bundle.bundle_examples import image_spec

LIMITS = ImageLimits()
SPEC = image_spec(resize_mode="longest")
STATUS = {UnsupportedImage: 415, UndecodableImage: 422, TooLarge: 413}
FAR_TOO_LONG_S = 30  # the slowest takes 1.5 s; without the limits some take hours


def status(payload: bytes, mode: str = "exact") -> int:
    try:
        load_pixels(payload, SPEC, LIMITS, mode)
    except InputError as error:
        return STATUS[type(error)]
    return 200


@pytest.mark.parametrize("entry", corpus(), ids=lambda entry: entry.name)
@pytest.mark.filterwarnings("ignore")  # decoders warn of much in damaged files
def test_every_hostile_file_ends_as_it_must(entry: Hostile) -> None:
    began = time.monotonic()
    assert status(entry.payload) in entry.statuses
    assert time.monotonic() - began < FAR_TOO_LONG_S


@pytest.mark.parametrize(
    "entry", [one for one in good(corpus()) if not one.heavy], ids=lambda entry: entry.name
)
@pytest.mark.filterwarnings("ignore")
def test_what_has_a_vector_has_a_size_and_a_thumbnail_too(entry: Hostile) -> None:
    assert status(entry.payload, "fast") == 200
    info = probe(entry.payload, LIMITS)
    with Image.open(io.BytesIO(thumbnail(entry.payload, LIMITS, 64))) as small:
        assert max(small.size) == min(64, max(info.width, info.height))


def test_corpus_has_files_of_every_kind_and_is_made_the_same_every_time() -> None:
    assert len(corpus()) > 300
    assert sum(entry.statuses == GOOD for entry in corpus()) > 80
    files = {entry.name: entry.payload for entry in corpus()}
    corpus.cache_clear()
    assert {entry.name: entry.payload for entry in corpus()} == files


# JPEG


def test_scans_that_honest_files_have_are_read() -> None:
    head, scan = scans(encoded(scene(channels=1), "JPEG", progressive=True))
    assert status(head + scan * 900 + b"\xff\xd9") == 200
    assert status(head + scan * 1_000 + b"\xff\xd9") == 413


def test_fewer_scans_of_a_larger_picture_are_too_many() -> None:
    head, scan = scans(encoded(scene(channels=1), "JPEG", progressive=True))
    file = jpeg_of_size(head + scan * 30 + b"\xff\xd9", 7_000, 7_000)
    with pytest.raises(TooLarge, match="JPEG image of 49000000 pixels has more than 20 scans"):
        probe(file, LIMITS)
    assert probe(jpeg_of_size(file, 4_000, 4_000), LIMITS).width == 4_000


def test_bytes_like_scans_behind_the_end_are_none() -> None:
    file = encoded(scene(), "JPEG", progressive=True)
    assert status(file + b"\xff\xda" * 5_000) == 200


def test_tables_between_scans_are_bounded_too() -> None:
    head, scan = scans(encoded(scene(channels=1), "JPEG", progressive=True))
    many = (segment(0xFE, b"") * bombs_jpeg.MAX_SCANS * 10 + scan) * 2
    bombs_jpeg.check_scans(head + many + b"\xff\xd9", 0, 1, 1)  # two scans
    with pytest.raises(TooLarge):
        bombs_jpeg.check_scans(head + many + scan * 1_000, head.index(b"\xff\xda") + 2, 1, 10**6)


def test_sixteen_segments_of_exif_are_read_and_not_more() -> None:
    exif = segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\0\0")
    plain = encoded(scene(), "JPEG")
    assert status(with_segments(plain, *[exif] * 16)) == 200
    assert status(with_segments(plain, *[exif] * 17)) == 413


# Edges


def test_edge_of_65535_pixels_is_the_longest() -> None:
    assert status(encoded(Image.new("L", (65_535, 1)), "PNG")) == 200
    with pytest.raises(TooLarge, match="65536 x 1 pixels, limit for an edge is 65535"):
        probe(encoded(Image.new("L", (65_536, 1)), "PNG"), LIMITS)


# Pieces


def test_file_is_read_in_a_bounded_number_of_pieces() -> None:
    file = MeteredFile(b"abcdef", 3)
    assert [file.read(1), file.read(2), file.read()] == [b"a", b"bc", b"def"]
    assert file.getvalue() == b"abcdef"
    with pytest.raises(TooLarge, match="too many pieces, over 3 reads"):
        file.read(1)


# AVIF


def units(file: bytes) -> list[tuple[int, int]]:
    pieces = av1_pieces(file, boxes_of(file))
    return [unit for piece in pieces for unit in coded_pictures(memoryview(piece))]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"subsampling": "4:4:4", "quality": 100},
        {"range": "limited", "speed": 10},
        {"exif": b"Exif\0\0II*\0\x08" + bytes(9), "xmp": b"<x/>", "icc_profile": bytes(5_000)},
        {"tile_rows": 1, "tile_cols": 1, "autotiling": False},
    ],
)
@pytest.mark.parametrize("size", [(1, 1), (97, 131), (640, 480), (513, 1)])
def test_avif_codes_what_it_names(size: tuple[int, int], options: dict[str, object]) -> None:
    file = encoded(scene(*size), "AVIF", **options)
    n_px = size[0] * size[1]
    found = units(file)
    assert max(largest for largest, _ in found) == n_px
    assert sum(n_frames for _, n_frames in found) == 1
    check_coded(file, n_px)


def test_avif_codes_its_transparency_apart() -> None:
    found = units(encoded(scene(50, 40, channels=4), "AVIF"))
    assert [largest for largest, n_frames in found if n_frames] == [2_000, 2_000]


def test_avif_of_several_frames_codes_a_first_sample() -> None:
    frames = [scene(50, 40, seed) for seed in range(4)]
    found = units(encoded(frames[0], "AVIF", save_all=True, append_images=frames[1:]))
    assert [largest for largest, n_frames in found if n_frames] == [2_000] * 2  # the still, and the sequence


@pytest.mark.parametrize(
    "damage",
    [
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff",  # a length without end
        b"\x0a\x02\x00\x00",  # a sequence header of two bytes
        b"\x0e",  # an extension that is not there
    ],
)
def test_av1_of_no_sense_is_an_error(damage: bytes) -> None:
    with pytest.raises(ValueError, match="AV1"):
        list(coded_pictures(memoryview(damage)))


def test_frames_are_counted_although_none_is_shown() -> None:
    file = encoded(scene(), "AVIF")
    (piece,) = av1_pieces(file, boxes_of(file))
    head, n_px = bytes(piece), 48 * 40
    frame = head[head.index(b"\x32") :]  # the frame, after its sequence header
    data = file.index(b"mdat") + 4
    many = file[:data] + head + frame * 5_000
    at = file.index(struct.pack(">II", data, len(head))) + 4  # its length in the list of places
    many = many[:at] + struct.pack(">I", len(many) - data) + many[at + 4 :]
    with pytest.raises(TooLarge, match=f"pixels for a picture of {n_px}"):
        check_coded(many, n_px)

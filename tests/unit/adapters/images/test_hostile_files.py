"""The hostile corpus through the decoder, and the guards without which some files take hours."""

import io
from collections.abc import Iterator
from dataclasses import replace
from threading import Event

import pytest
from PIL import Image

from diptych.adapters.images.decoder_processes import DecoderProcesses, limits_for
from diptych.adapters.images.guards import IMAGE_GUARD, MAX_SCANS, MeteredFile, check_scans
from diptych.bundle.image.formats import ISOLATED, sniff
from diptych.bundle.image.preprocess import DecodeMode, ImageLimits, load_pixels, probe, thumbnail
from diptych.errors import InputError, TooLarge, UndecodableImage, UnsupportedImage
from support.bundle_examples import image_spec
from support.hostile.containers import encoded, jpeg_of_size, scans, scene, segment, with_segments
from support.hostile.corpus import corpus, good
from support.hostile.entry import GOOD, Hostile

LIMITS = ImageLimits(guard=IMAGE_GUARD)
SPEC = image_spec(resize_mode="longest")
STATUS = {UnsupportedImage: 415, UndecodableImage: 422, TooLarge: 413}
CPU_S = 4  # of an isolated decoder: a header here needs a tenth of one, several on a busy machine


@pytest.fixture(scope="module")
def processes() -> Iterator[DecoderProcesses]:
    """As in a server, but for less time; what is decoded in them cannot end the tests."""
    started = DecoderProcesses(replace(limits_for(LIMITS.max_px), cpu_s=CPU_S))
    yield started
    started.close()


def status(payload: bytes, processes: DecoderProcesses, mode: DecodeMode = "exact") -> int:
    try:
        if sniff(payload) in ISOLATED:
            processes.run(Event(), load_pixels, payload, SPEC, LIMITS, mode)
        else:
            load_pixels(payload, SPEC, LIMITS, mode)
    except InputError as error:
        return STATUS[type(error)]
    return 200


@pytest.mark.parametrize("entry", corpus(), ids=lambda entry: entry.name)
@pytest.mark.filterwarnings("ignore")  # decoders warn of much in damaged files
def test_every_hostile_file_has_its_expected_result(entry: Hostile, processes: DecoderProcesses) -> None:
    assert status(entry.payload, processes) in entry.statuses


@pytest.mark.parametrize(
    "entry", [one for one in good(corpus()) if not one.heavy], ids=lambda entry: entry.name
)
@pytest.mark.filterwarnings("ignore")
def test_file_with_a_vector_has_a_size_and_a_thumbnail(entry: Hostile, processes: DecoderProcesses) -> None:
    assert status(entry.payload, processes, "fast") == 200
    info = probe(entry.payload, LIMITS)
    with Image.open(io.BytesIO(thumbnail(entry.payload, LIMITS, 64))) as small:
        assert max(small.size) == min(64, max(info.width, info.height))


def test_corpus_has_files_of_every_kind() -> None:
    assert len(corpus()) > 250
    assert sum(entry.statuses == GOOD for entry in corpus()) > 80


# JPEG


def test_numbers_of_scans_in_honest_files_are_accepted(processes: DecoderProcesses) -> None:
    head, scan = scans(encoded(scene(channels=1), "JPEG", progressive=True))
    assert status(head + scan * 900 + b"\xff\xd9", processes) == 200
    assert status(head + scan * 1_000 + b"\xff\xd9", processes) == 413


def test_fewer_scans_of_a_larger_picture_are_too_many() -> None:
    head, scan = scans(encoded(scene(channels=1), "JPEG", progressive=True))
    file = jpeg_of_size(head + scan * 30 + b"\xff\xd9", 7_000, 7_000)
    with pytest.raises(TooLarge, match="JPEG image of 49000000 pixels has more than 20 scans"):
        probe(file, LIMITS)
    assert probe(jpeg_of_size(file, 4_000, 4_000), LIMITS).width == 4_000


def test_bytes_like_scans_after_the_end_do_not_count(processes: DecoderProcesses) -> None:
    file = encoded(scene(), "JPEG", progressive=True)
    assert status(file + b"\xff\xda" * 5_000, processes) == 200


def test_tables_between_scans_are_limited_too() -> None:
    head, scan = scans(encoded(scene(channels=1), "JPEG", progressive=True))
    many = (segment(0xFE, b"") * MAX_SCANS * 10 + scan) * 2
    check_scans(head + many + b"\xff\xd9", 0, 1, 1)  # two scans
    with pytest.raises(TooLarge):
        check_scans(head + many + scan * 1_000, head.index(b"\xff\xda") + 2, 1, 10**6)


def test_at_most_sixteen_exif_segments_are_accepted(processes: DecoderProcesses) -> None:
    exif = segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\0\0")
    plain = encoded(scene(), "JPEG")
    assert status(with_segments(plain, *[exif] * 16), processes) == 200
    assert status(with_segments(plain, *[exif] * 17), processes) == 413


# Edges


def test_longest_edge_is_65535_pixels(processes: DecoderProcesses) -> None:
    assert status(encoded(Image.new("L", (65_535, 1)), "PNG"), processes) == 200
    with pytest.raises(TooLarge, match="65536 x 1 pixels, limit for an edge is 65535"):
        probe(encoded(Image.new("L", (65_536, 1)), "PNG"), LIMITS)


# Pieces


def test_file_is_read_in_a_limited_number_of_pieces() -> None:
    file = MeteredFile(b"abcdef", 3)
    assert [file.read(1), file.read(2), file.read()] == [b"a", b"bc", b"def"]
    assert file.getvalue() == b"abcdef"
    with pytest.raises(TooLarge, match="too many pieces, over 3 reads"):
        file.read(1)

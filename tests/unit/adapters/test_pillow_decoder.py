"""What a server's decoder does beyond decoding."""

import asyncio
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile, TiffImagePlugin

from diptych.adapters.pillow_decoder import PillowDecoder
from diptych.adapters.pixel_budget import PixelBudget
from diptych.adapters.shared_work import SharedWork
from diptych.bundle.image import DecodeMode, ImageLimits
from diptych.core.types import Picture
from diptych.errors import TooLarge
from support.hostile.containers import changed, plain_tags, tiff
from unit.bundle.bundle_examples import encoded, image_spec, noise

N_TAGS = 1_000


def test_damaged_tags_are_neither_told_nor_remembered() -> None:
    """Each has a wording of its own; Python keeps every wording that it has told."""
    damaged = [(tag, 7, 10_000_000 + tag, 8) for tag in range(1_000, 1_000 + N_TAGS)]
    file = tiff([*plain_tags(64, 64, 4096), *damaged], bytes(4096))
    n_before = len(getattr(TiffImagePlugin, "__warningregistry__", {}))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        decoder = PillowDecoder(image_spec(), ImageLimits(), n_threads=1)
        asyncio.run(decoder.decode_many([file], lambda seconds: None))
    assert told == []
    assert len(getattr(TiffImagePlugin, "__warningregistry__", {})) <= n_before + 1  # its own version


def test_decoders_write_no_errors_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    file = tiff(changed(plain_tags(64, 64, 4096), (277, 3, 1, 65_535)), bytes(4096))
    decoder = PillowDecoder(image_spec(), ImageLimits(), n_threads=1)
    asyncio.run(decoder.decode_many([file], lambda seconds: None))
    assert caplog.records == []


@pytest.mark.parametrize("compression", [3, 5, 8, 50000, 34925])
def test_what_libtiff_says_of_damaged_rows_is_not_written(
    compression: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """By its own hand, past Python: twenty kilobytes of fax were megabytes of log."""
    rows = random.Random(0).randbytes(20_000)
    tags = changed(plain_tags(700, 6_000, len(rows), compression), (258, 3, 1, 1), (262, 3, 1, 0))
    decoder = PillowDecoder(image_spec(), ImageLimits(), n_threads=1)
    asyncio.run(decoder.decode_many([tiff(tags, rows)], lambda seconds: None))
    assert capfd.readouterr().err == ""


class Course:
    """What a decoder does with a file, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[str] = []
        opened, load, hold = Image.open, ImageFile.ImageFile.load, PixelBudget.hold

        def open_noted(*values: Any, **options: Any) -> Any:
            self.steps.append("header")
            return opened(*values, **options)

        def load_noted(file: ImageFile.ImageFile) -> Any:
            self.steps.append("pixels")
            return load(file)

        @contextmanager
        def hold_noted(budget: PixelBudget, n_px: int) -> Iterator[None]:
            self.steps.append(f"room for {n_px}")
            with hold(budget, n_px):
                yield
            self.steps.append("room is free")

        monkeypatch.setattr(Image, "open", open_noted)
        monkeypatch.setattr(ImageFile.ImageFile, "load", load_noted)
        monkeypatch.setattr(PixelBudget, "hold", hold_noted)


@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_header_is_read_once_and_room_is_claimed_before_a_pixel_is_decoded(
    mode: DecodeMode, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = encoded(noise(64, 48), format)
    course = Course(monkeypatch)
    decoder = PillowDecoder(image_spec(), ImageLimits(), n_threads=1, mode=mode)
    (picture,) = asyncio.run(decoder.decode_many([file], lambda seconds: None))
    assert isinstance(picture, Picture)
    assert (picture.info.format, picture.info.width, picture.info.height) == (format, 64, 48)
    assert course.steps[:3] == ["header", f"room for {64 * 48 + 42 * 32}", "pixels"]
    assert course.steps[-1] == "room is free"
    assert course.steps.count("header") == 1


def test_picture_that_is_alone_is_shared_and_comes_out_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    n_parts: list[int] = []
    run = SharedWork.run

    def counted(work: SharedWork, parts: Sequence[Callable[[], None]]) -> None:
        n_parts.append(len(parts))
        run(work, parts)

    monkeypatch.setattr(SharedWork, "run", counted)
    decoder = PillowDecoder(image_spec(size=224), ImageLimits(), n_threads=1, n_sharing=3)
    file = encoded(noise(512, 400), "PNG")  # more than MIN_SHARED_PX
    pictures: list[Picture] = []
    for alone in (False, True):
        (picture,) = asyncio.run(decoder.decode_many([file], lambda seconds: None, alone=alone))
        assert isinstance(picture, Picture)
        pictures.append(picture)
        assert n_parts == ([3, 3] if alone else [])
    np.testing.assert_array_equal(pictures[0].pixels, pictures[1].pixels)


def test_thumbnail_reads_the_header_once_and_claims_room_before_a_pixel_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = encoded(noise(64, 48), "PNG")
    course = Course(monkeypatch)
    decoder = PillowDecoder(image_spec(), ImageLimits(), n_threads=1)
    asyncio.run(decoder.thumbnail(file, 16))
    assert course.steps[:3] == ["header", f"room for {64 * 48}", "pixels"]
    assert course.steps.count("header") == 1


def test_picture_over_a_limit_waits_for_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    course = Course(monkeypatch)
    decoder = PillowDecoder(image_spec(size=224), ImageLimits(max_px=50_000), n_threads=1)
    strip = encoded(noise(300, 10), "PNG")  # 3,000 pixels, of which a resize makes 1,505,280
    (error,) = asyncio.run(decoder.decode_many([strip], lambda seconds: None))
    assert isinstance(error, TooLarge)
    assert course.steps == ["header"]

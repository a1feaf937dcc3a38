"""The server's decoder: isolation, turns, budget, thumbnails and logging."""

import asyncio
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile, TiffImagePlugin

from diptych.adapters.images import decoder_child
from diptych.adapters.images.decoder_child import ChildLimits
from diptych.adapters.images.decoder_processes import DecoderProcesses, limits_for
from diptych.adapters.images.memory import PixelBudget
from diptych.adapters.images.pillow_decoder import ImageWorkers
from diptych.adapters.images.shared_work import SharedWork
from diptych.bundle.image import preprocess
from diptych.bundle.image.preprocess import DecodeMode, ImageLimits
from diptych.bundle.manifest import ImageSpec
from diptych.core.types import DecodedImage
from diptych.errors import InputError, NotReady, TooLarge, UndecodableImage
from support.bundle_examples import image_spec, noise
from support.hostile.containers import changed, plain_tags, segment, tiff, with_segments
from support.hostile.tiffs import slow_tiff
from support.pictures import encoded

N_TAGS = 1_000


class PlantedFaults(DecoderProcesses):
    """Runs what the end of a file says instead of its decoder, where it says something."""

    def run(self, unwanted: Any, work: Any, *args: Any, **options: Any) -> Any:
        _, _, code = args[0].partition(b"planted:")
        planned = (exec, code) if code else (work, *args)
        return super().run(unwanted, *planned, **options)


def decoded(
    workers: ImageWorkers, *files: bytes, spec: ImageSpec | None = None, mode: DecodeMode = "exact"
) -> list[DecodedImage | InputError]:
    decoder = workers.decoder(spec or image_spec(), mode)
    return asyncio.run(decoder.decode_many(files, lambda seconds: None))


@pytest.mark.parametrize("format", ["TIFF", "AVIF"])
def test_isolated_decoding_gives_the_same_pixels_as_in_process_decoding(format: str) -> None:
    file, spec = encoded(noise(64, 48), format), image_spec()
    workers = ImageWorkers(ImageLimits(), n_threads=1)
    (picture,) = decoded(workers, file, spec=spec)
    assert isinstance(picture, DecodedImage)
    assert picture.info == preprocess.probe(file, ImageLimits())
    np.testing.assert_array_equal(picture.pixels, preprocess.load_pixels(file, spec, ImageLimits()))
    small = asyncio.run(workers.thumbnail(file, 16))
    assert small == preprocess.thumbnail(file, ImageLimits(), 16)


def test_decoders_of_two_models_share_the_workers_and_each_prepares_as_its_model_does() -> None:
    file, workers = encoded(noise(64, 48), "PNG"), ImageWorkers(ImageLimits(), n_threads=1)
    for spec in (image_spec(size=8), image_spec(size=16, resize_mode="squash")):
        (picture,) = decoded(workers, file, spec=spec)
        assert isinstance(picture, DecodedImage)
        np.testing.assert_array_equal(picture.pixels, preprocess.load_pixels(file, spec, ImageLimits()))


def test_isolated_formats_have_the_same_limits_as_others() -> None:
    workers = ImageWorkers(ImageLimits(max_px=3_000), n_threads=1)
    errors = decoded(workers, *(encoded(noise(64, 48), format) for format in ("PNG", "TIFF", "AVIF")))
    assert {str(error) for error in errors} == {"image has 64 x 48 = 3072 pixels, limit is 3000"}
    assert {type(error) for error in errors} == {TooLarge}


@pytest.mark.parametrize(
    "fault",
    [b"import os; os.abort()", b"while True: pass", b"bytearray(10**10)"],
    ids=["dies", "hangs", "grows"],
)
def test_failed_decoder_loses_its_own_picture_and_no_other(fault: bytes) -> None:
    one, other, png = (encoded(noise(64, 48), format) for format in ("TIFF", "AVIF", "PNG"))
    planted = one + b"planted:" + fault
    processes = PlantedFaults(ChildLimits(300_000_000, cpu_s=1, wall_s=20), 2)
    workers = ImageWorkers(ImageLimits(), n_threads=2, processes=processes)
    alone = [picture for file in (one, other, png) for picture in decoded(workers, file)]
    found = decoded(workers, one, planted, other, planted, png)
    assert [type(found[at]) for at in (1, 3)] == [UndecodableImage, UndecodableImage]
    for before, after in zip(alone, found[::2], strict=True):
        assert isinstance(before, DecodedImage)
        assert isinstance(after, DecodedImage)
        np.testing.assert_array_equal(before.pixels, after.pixels)


def test_thumbnail_whose_decoder_dies_is_undecodable_and_the_next_is_made() -> None:
    processes = PlantedFaults(ChildLimits(300_000_000, cpu_s=1, wall_s=20))
    workers = ImageWorkers(ImageLimits(), n_threads=1, processes=processes)
    file = encoded(noise(64, 48), "TIFF")
    with pytest.raises(UndecodableImage):
        asyncio.run(workers.thumbnail(file + b"planted:import os; os.abort()", 16))
    assert asyncio.run(workers.thumbnail(file, 16)) == preprocess.thumbnail(file, ImageLimits(), 16)


async def test_hanging_decoder_delays_no_picture_of_another_format() -> None:
    processes = PlantedFaults(ChildLimits(300_000_000, cpu_s=20, wall_s=100), 1)
    workers = ImageWorkers(ImageLimits(), n_threads=1, processes=processes)
    hanging = encoded(noise(64, 48), "TIFF") + b"planted:import time; time.sleep(50)"

    decoder = workers.decoder(image_spec())
    waiting = asyncio.create_task(decoder.decode_many([hanging], lambda seconds: None))
    (picture,) = await decoder.decode_many([encoded(noise(64, 48), "PNG")], lambda seconds: None)
    assert isinstance(picture, DecodedImage)
    assert not waiting.done()
    workers.close()
    with pytest.raises(NotReady):
        await waiting


async def test_cancelled_call_leaves_the_process_to_the_next_one() -> None:
    processes = PlantedFaults(ChildLimits(300_000_000, cpu_s=20, wall_s=100), 1)
    workers = ImageWorkers(ImageLimits(), n_threads=1, processes=processes)
    file = encoded(noise(64, 48), "TIFF")

    hanging = file + b"planted:import time; time.sleep(50)"
    decoder = workers.decoder(image_spec())
    gone = asyncio.create_task(decoder.decode_many([hanging] * 3, lambda seconds: None))
    await asyncio.sleep(0.1)
    gone.cancel()
    async with asyncio.timeout(25):
        (picture,) = await decoder.decode_many([file], lambda seconds: None)
    assert isinstance(picture, DecodedImage)


class QuarterOfTheTime(DecoderProcesses):
    """Allows pictures a quarter of the time for their pixels, so that slow ones exceed it on any machine."""

    def run(self, unwanted: Any, work: Any, *args: Any, **options: Any) -> Any:
        quarter = f"child.S_PER_PX, child.DECODE_S = {decoder_child.S_PER_PX / 4}, 0"
        super().run(unwanted, exec, f"import {decoder_child.__name__} as child; {quarter}")
        return super().run(unwanted, work, *args, **options)


def test_processor_time_of_a_picture_is_limited_by_its_size() -> None:
    """It takes three seconds, and is allowed one."""
    slow = slow_tiff(80)  # 26 million pixels
    processes = QuarterOfTheTime(limits_for(64**2 * 80**2))
    workers = ImageWorkers(ImageLimits(), n_threads=1, processes=processes)
    (error,) = decoded(workers, slow)
    assert isinstance(error, UndecodableImage)
    assert "took more processor time than a file of its size is allowed" in str(error)
    with pytest.raises(UndecodableImage, match="took more processor time than a file of its size is allowed"):
        asyncio.run(workers.thumbnail(slow, 16))


def test_damaged_tags_are_neither_logged_nor_remembered() -> None:
    """Each has a wording of its own; Python keeps every wording that it has told."""
    damaged = [(tag, 7, 10_000_000 + tag, 8) for tag in range(1_000, 1_000 + N_TAGS)]
    exif = b"Exif\0\0" + tiff([*plain_tags(64, 64, 4096), *damaged])
    file = with_segments(encoded(noise(64, 48), "JPEG"), segment(0xE1, exif))
    n_before = len(getattr(TiffImagePlugin, "__warningregistry__", {}))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        decoded(ImageWorkers(ImageLimits(), n_threads=1), file)
    assert told == []
    assert len(getattr(TiffImagePlugin, "__warningregistry__", {})) <= n_before + 1  # its own version


def test_messages_of_libtiff_on_damaged_rows_are_not_written(capfd: pytest.CaptureFixture[str]) -> None:
    """By its own hand, past Python: twenty kilobytes of fax were megabytes of log."""
    rows = random.Random(0).randbytes(20_000)
    tags = changed(plain_tags(700, 6_000, len(rows), 3), (258, 3, 1, 1), (262, 3, 1, 0))
    decoded(ImageWorkers(ImageLimits(), n_threads=1), tiff(tags, rows))
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
def test_header_is_read_once_and_the_budget_is_held_before_a_pixel_is_decoded(
    mode: DecodeMode, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = encoded(noise(64, 48), format)
    course = Course(monkeypatch)
    workers = ImageWorkers(ImageLimits(), n_threads=1)
    (picture,) = decoded(workers, file, mode=mode)
    assert isinstance(picture, DecodedImage)
    assert (picture.info.format, picture.info.width, picture.info.height) == (format, 64, 48)
    assert course.steps[:3] == ["header", f"room for {64 * 48 + 42 * 32}", "pixels"]
    assert course.steps[-1] == "room is free"
    assert course.steps.count("header") == 1


def test_single_picture_is_resized_by_several_threads_with_the_same_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    n_parts: list[int] = []
    run = SharedWork.run

    def counted(work: SharedWork, parts: Sequence[Callable[[], None]]) -> None:
        n_parts.append(len(parts))
        run(work, parts)

    monkeypatch.setattr(SharedWork, "run", counted)
    decoder = ImageWorkers(ImageLimits(), n_threads=1, n_sharing=3).decoder(image_spec(size=224))
    file = encoded(noise(512, 400), "PNG")  # more than MIN_SHARED_PX
    pictures: list[DecodedImage] = []
    for alone in (False, True):
        (picture,) = asyncio.run(decoder.decode_many([file], lambda seconds: None, alone=alone))
        assert isinstance(picture, DecodedImage)
        pictures.append(picture)
        assert n_parts == ([3, 3] if alone else [])
    np.testing.assert_array_equal(pictures[0].pixels, pictures[1].pixels)


def test_picture_over_a_limit_does_not_wait_for_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    course = Course(monkeypatch)
    workers = ImageWorkers(ImageLimits(max_px=50_000), n_threads=1)
    strip = encoded(noise(300, 10), "PNG")  # 3,000 pixels, of which a resize makes 1,505,280
    (error,) = decoded(workers, strip, spec=image_spec(size=224))
    assert isinstance(error, TooLarge)
    assert course.steps == ["header"]

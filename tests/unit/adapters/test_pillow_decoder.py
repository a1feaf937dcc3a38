"""What a server's decoder does beyond decoding."""

import asyncio
import random
import warnings

import pytest
from PIL import TiffImagePlugin

from diptych.adapters.pillow_decoder import PillowDecoder
from diptych.bundle.image import ImageLimits
from support.hostile.containers import changed, plain_tags, tiff
from unit.bundle.bundle_examples import image_spec

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

"""A data folder that is full for long: every request is refused, and the log says so once."""

from pathlib import Path

import pytest

from integration.store_parts import tiny_png
from support.app import running_app
from support.image_requests import add_images

IMAGES = "/collections/default/images"
ROOM = 300_000  # of the quota, for the database and a few images


def test_disk_errors_log_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING")
    with running_app(tmp_path, max_data_bytes=ROOM) as client:

        def add(n: int, n_chars: int) -> int:
            items = [{"metadata": {"long": "x" * n_chars}}]
            return add_images(client, IMAGES, tiny_png(n), items=items).status_code

        n = 0
        for n_chars in (15_000, 0):  # the second fills the room that the first leaves
            while add(n, n_chars) == 200:
                n += 1
            assert [add(n, n_chars) for _ in range(3)] == [507] * 3
    (refused,) = (one.getMessage() for one in caplog.records)
    assert refused.startswith("the data folder takes no writes: ")
    assert "the limit is 300000 (DIPTYCH_MAX_DATA_BYTES)" in refused

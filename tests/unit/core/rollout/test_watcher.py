"""What the watch of the model repository says of failures, and of whom."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from diptych.core.rollout.watcher import RepositoryWatcher
from diptych.errors import StoreUnavailable


def test_only_failures_of_the_repository_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    failures = [StoreUnavailable("the database cannot be reached"), OSError("Input/output error")]

    async def read_calibrations() -> None:
        raise failures.pop(0) if failures else asyncio.CancelledError

    parts = cast("Any", SimpleNamespace(versions=SimpleNamespace(read_calibrations=read_calibrations)))
    watcher = RepositoryWatcher(parts, *cast("Any", (None, None, None)), poll_s=0.0)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(watcher.watch())
    assert [one.message for one in caplog.records] == [
        "the model repository cannot be read: Input/output error"
    ]

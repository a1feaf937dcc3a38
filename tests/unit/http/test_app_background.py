"""Background work: starts once the services are loaded, stops with them, and may fail without harm."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, cast

import pytest
from fastapi.testclient import TestClient

from diptych.core.services import Services
from diptych.errors import Conflict
from diptych.http.app import create_app


class FakeServices:
    """Counts how often it was closed."""

    def __init__(self) -> None:
        self.n_closed = 0

    async def close(self) -> None:
        self.n_closed += 1


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_failing_work_is_logged_and_other_work_continues(
    caplog: pytest.LogCaptureFixture,
) -> None:
    services, steps, failures = FakeServices(), list[str](), list[BaseException]()

    async def load() -> Services:
        return cast(Services, services)

    async def fail(_: Services) -> None:
        raise OSError("disk full")

    async def work(_: Services) -> None:
        try:
            steps.append("begun")
            await asyncio.sleep(3600)
        finally:
            steps.append("stopped")

    app = create_app(load, on_failure=failures.append, background=[fail, work])
    with caplog.at_level(logging.ERROR), TestClient(app, base_url="http://localhost"):
        wait_for(lambda: steps == ["begun"] and "background work failed" in caplog.text)
    assert (failures, steps, services.n_closed) == ([], ["begun", "stopped"], 1)


def test_background_work_ending_in_a_diptych_error_logs_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def load() -> Services:
        return cast(Services, FakeServices())

    async def refuse(_: Services) -> None:
        raise Conflict("the collection belongs to another model")

    app = create_app(load, on_failure=print, background=[refuse])
    with caplog.at_level(logging.ERROR), TestClient(app, base_url="http://localhost"):
        wait_for(lambda: "another model" in caplog.text)
    assert "Traceback" not in caplog.text

"""The choice of the log format, and request ids in log lines."""

import asyncio
import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from diptych.cli.process.logs import JsonLines, LogFormat, TextLines, configure_logging
from diptych.http.context import active_request, attach_context

LOG = logging.getLogger("diptych.test")


class Stderr(io.StringIO):
    """A stream that is a terminal, or is not."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def written(
    monkeypatch: pytest.MonkeyPatch, log_format: LogFormat, *, is_terminal: bool, **extra: Any
) -> str:
    stderr = Stderr(is_terminal)
    monkeypatch.setattr(sys, "stderr", stderr)
    configure_logging(log_format)
    LOG.warning("two\nlines", extra={"fields": extra})
    return stderr.getvalue()


def test_json_unless_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    line = json.loads(written(monkeypatch, "auto", is_terminal=False, status=200))
    assert (line.pop("time")[-6:], line) == (
        "+00:00",
        {"level": "warning", "logger": "diptych.test", "message": "two\nlines", "status": 200},
    )
    assert written(monkeypatch, "auto", is_terminal=True, status=200).endswith(
        " warning two\nlines status=200\n"
    )


def test_line_breaks_cannot_forge_a_json_line() -> None:
    record = logging.makeLogRecord({"msg": 'a\n{"level": "error"}', "fields": {"name": "b\nc"}})
    assert "\n" not in JsonLines().format(record)


def test_traceback_is_kept_in_both_formats() -> None:
    try:
        raise ValueError("why")
    except ValueError:
        record = logging.makeLogRecord({"msg": "failed", "exc_info": sys.exc_info()})
    assert "ValueError: why" in json.loads(JsonLines().format(record))["exception"]
    assert "ValueError: why" in TextLines().format(record)


@pytest.mark.parametrize("formatter", [JsonLines(), TextLines()])
def test_every_line_logged_for_a_request_has_its_id(formatter: logging.Formatter) -> None:
    lines: list[str] = []
    record = LOG.makeRecord(LOG.name, logging.INFO, "here", 1, "a failure deep inside", (), None)

    async def deep_inside() -> None:
        lines.append(formatter.format(record))

    async def request(request_id: str) -> None:
        with active_request(attach_context({"type": "http"}, request_id)):
            await asyncio.gather(deep_inside(), deep_inside())

    async def scenario() -> None:
        await asyncio.gather(*(asyncio.create_task(request(one)) for one in ("id-1", "id-2")))
        await deep_inside()

    asyncio.run(scenario())
    assert ["id-1" in line for line in lines] == [True, True, False, False, False]
    assert ["id-2" in line for line in lines] == [False, False, True, True, False]

"""The end of a server: bounded, whatever hangs."""

import asyncio
import subprocess
import sys
from typing import Any, cast

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from diptych.cli import graceful
from diptych.cli.graceful import GracefulServer
from diptych.core import services
from diptych.core.services import Services
from diptych.http.inside import Inside
from support.raw_http import run, serving, until


def ended(code: str, timeout_s: float = 20) -> int:
    return subprocess.run([sys.executable, "-c", code], timeout=timeout_s, check=False).returncode


def test_process_ends_although_a_thread_never_does() -> None:
    code = (
        "import threading; from diptych.cli.graceful import end_after; "
        "threading.Thread(target=threading.Event().wait).start(); end_after(0.1, 7)"
    )
    assert ended(code) == 7


def test_process_that_ends_by_itself_is_left_alone() -> None:
    assert ended("from diptych.cli.graceful import end_after; end_after(60, 7)") == 0


def test_closing_that_hangs_is_given_up_and_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graceful, "CLOSE_S", 0.1)
    never = asyncio.Event()  # held here: what nobody can reach any more is collected, and so ends

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await never.wait()

    async def scenario() -> None:
        async with serving(app) as place:
            server = place.server
        assert server.status == 1

    run(scenario)


def test_orderly_end_is_a_success_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[tuple[float, int]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})

    async def scenario() -> None:
        config = uvicorn.Config(app, lifespan="on", log_config=None, port=0)
        server = GracefulServer(config, Inside(), 30, end_after=lambda *when: ends.append(when))
        running = asyncio.create_task(server.serve())
        await until(lambda: server.started)
        server.leave()
        await running
        assert server.status == 0

    run(scenario)
    assert ends == [(graceful.EXIT_S, 0)]


class Part:
    """Something that is closed, or takes for ever to be."""

    def __init__(self, log: list[str], name: str, hangs: bool = False) -> None:
        self._log, self._name, self._hangs = log, name, hangs

    async def close(self) -> None:
        if self._hangs:
            await asyncio.Event().wait()
        self._log.append(self._name)


def test_batch_that_runs_on_does_not_keep_the_collections_from_closing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(services, "LAST_BATCH_S", 0.05)
    closed: list[str] = []
    names = ("background", "health", "jobs", "collections")
    parts: dict[str, Any] = {name: Part(closed, name) for name in names}
    engines = Part(closed, "engines", hangs=True)
    others = dict.fromkeys(Services.__dataclass_fields__) | parts
    whole = Services(**cast(Any, others | {"engines": engines}))
    asyncio.run(whole.close())
    assert closed == list(names)

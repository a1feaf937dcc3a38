"""The server stops within a bounded time, whatever hangs."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, cast

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from diptych.core import services
from diptych.core.services import Services
from diptych.http.server import graceful_stop
from diptych.http.server.graceful_stop import GracefulServer
from diptych.http.state import InFlightRequests
from support.raw_http import is_closed, read_response, run, serving, wait_until


def ended(code: str, timeout_s: float = 20) -> int:
    return subprocess.run([sys.executable, "-c", code], timeout=timeout_s, check=False).returncode


def test_process_exits_although_a_thread_never_ends() -> None:
    code = (
        "import threading; from diptych.http.server.graceful_stop import end_after; "
        "threading.Thread(target=threading.Event().wait).start(); end_after(0.1, 7)"
    )
    assert ended(code) == 7


def test_graceful_stop_succeeds_within_its_time_whatever_hangs() -> None:
    ends: list[tuple[float, int]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})

    async def scenario() -> None:
        config = uvicorn.Config(app, lifespan="on", log_config=None, port=0)
        server = GracefulServer(config, InFlightRequests(), 30, end_after=lambda *when: ends.append(when))
        running = asyncio.create_task(server.serve())
        await wait_until(lambda: server.started)
        server.request_stop()
        await running
        assert server.status == 0

    run(scenario)
    (_, failed), (within_s, succeeded) = ends
    assert (failed, within_s, succeeded) == (1, graceful_stop.EXIT_S, 0)


ASKED = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def test_requests_in_flight_are_answered_while_new_connections_are_refused() -> None:
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            asked.set()
            await may_answer.wait()
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body"})
            return
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})

    async def scenario() -> None:
        async with serving(app) as handle:
            idle, _ = await handle.connect()
            busy, _ = await handle.connect(ASKED)
            await asked.wait()
            handle.server.request_stop()
            assert await is_closed(idle)
            with pytest.raises(ConnectionError):
                await handle.connect(ASKED)
            may_answer.set()
            answer = await read_response(busy)
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert await is_closed(busy)

    run(scenario)


@pytest.fixture
def handlers() -> Iterator[None]:
    """Restore the signal handlers of this process."""
    before = {number: signal.getsignal(number) for number in graceful_stop.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(("before", "is_handled"), [(signal.SIG_DFL, True), (signal.SIG_IGN, False)])
def test_sighup_stops_the_server_except_under_nohup(before: signal.Handlers, is_handled: bool) -> None:
    signal.signal(signal.SIGHUP, before)
    server = GracefulServer(
        uvicorn.Config(lambda: None), InFlightRequests(), 30, end_after=lambda *when: None
    )
    server.install_signal_handlers()
    assert signal.getsignal(signal.SIGTERM) == server.handle_signal
    assert (signal.getsignal(signal.SIGHUP) == server.handle_signal) is is_handled
    server.handle_signal(signal.SIGTERM, None)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


class Part:
    """A part whose close may take for ever."""

    def __init__(self, log: list[str], name: str, hangs: bool = False) -> None:
        self._log, self._name, self._hangs = log, name, hangs

    async def close(self) -> None:
        if self._hangs:
            await asyncio.Event().wait()
        self._log.append(self._name)


def test_running_batch_does_not_keep_collections_from_closing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(services, "LAST_BATCH_S", 0.05)
    closed: list[str] = []
    names = ("health", "libraries", "jobs", "rollouts", "collections")
    parts: dict[str, Any] = {name: Part(closed, name) for name in names}
    parts["close_decoder"] = lambda: None
    versions = Part(closed, "versions", hangs=True)
    others = dict.fromkeys(Services.__dataclass_fields__) | parts
    whole = Services(**cast(Any, others | {"versions": versions}))
    asyncio.run(whole.close())
    assert closed == list(names)

"""The end of a server: bounded, whatever hangs."""

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, cast

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from diptych.cli import graceful
from diptych.cli.graceful import GracefulServer
from diptych.core import services
from diptych.core.services import Services
from diptych.http.inside import Inside
from support.raw_http import answer_of, is_hung_up, run, serving, until


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


ASKED = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def ok_app(at_end: Callable[[], Awaitable[None]]) -> Any:
    """Answers, and waits for `at_end` when it is closed."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = [(b"content-length", b"2"), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": 503, "headers": headers})
            await send({"type": "http.response.body", "body": b"ok"})
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await at_end()
        await send({"type": "lifespan.shutdown.complete"})

    return app


def test_who_comes_while_things_are_closed_is_answered_on_old_and_new_connections() -> None:
    closing, may_close = asyncio.Event(), asyncio.Event()

    async def at_end() -> None:
        closing.set()
        await may_close.wait()

    async def scenario() -> None:
        async with serving(ok_app(at_end)) as place:
            old, writer = await place.call()
            place.server.leave()
            await closing.wait()
            writer.write(ASKED)
            new, _ = await place.call(ASKED)
            for reader in (old, new):
                assert (await answer_of(reader)).status == 503
                assert await is_hung_up(reader)
            may_close.set()

    run(scenario)


class LateCaller(socket.socket):
    """A listener that somebody connects to, and asks, as soon as it is asked who waits."""

    caller: socket.socket | None = None

    def accept(self) -> tuple[socket.socket, Any]:
        if self.caller is None:
            self.caller = socket.create_connection(self.getsockname())
            self.caller.sendall(ASKED)
        return super().accept()


def test_who_is_connected_as_the_last_thing_is_answered_and_not_reset() -> None:
    listener = LateCaller(fileno=socket.create_server(("127.0.0.1", 0)).detach())

    async def at_end() -> None:
        pass

    async def scenario() -> None:
        async with serving(ok_app(at_end), listener=listener):
            pass
        assert listener.caller is not None
        listener.caller.settimeout(20)
        with listener.caller as caller:
            assert caller.recv(1000).startswith(b"HTTP/1.1 503 ")

    run(scenario)


@pytest.fixture
def handlers() -> Iterator[None]:
    """Those of this process, put back at the end."""
    before = {number: signal.getsignal(number) for number in graceful.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(("before", "is_heeded"), [(signal.SIG_DFL, True), (signal.SIG_IGN, False)])
def test_hangup_is_heeded_but_below_nohup(before: signal.Handlers, is_heeded: bool) -> None:
    signal.signal(signal.SIGHUP, before)
    server = GracefulServer(uvicorn.Config(lambda: None), Inside(), 30, end_after=lambda *when: None)
    server.heed_signals()
    assert signal.getsignal(signal.SIGTERM) == server.stop
    assert (signal.getsignal(signal.SIGHUP) == server.stop) is is_heeded
    server.stop(signal.SIGTERM, None)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


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

"""Names are looked up by the system in threads that nobody waits for."""

import asyncio
import socket
import threading
from ipaddress import ip_address
from typing import Any

import pytest

from diptych.adapters.system_resolver import SystemResolver

GATE = threading.Event()


def fake_getaddrinfo(asked: list[bytes]) -> Any:
    def getaddrinfo(host: bytes, port: None, **options: Any) -> list[Any]:
        asked.append(host)
        if host == b"nowhere.example":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if host == b"slow.example":
            assert GATE.wait(10)
        return [(0, 0, 0, "", (address, 0)) for address in ("192.0.2.1", "2001:db8::1", "192.0.2.1")]

    return getaddrinfo


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    asked: list[bytes] = []
    monkeypatch.setattr(socket, "getaddrinfo", fake_getaddrinfo(asked))
    GATE.clear()
    return asked


def test_every_address_comes_once_in_the_order_of_the_system(asked: list[bytes]) -> None:
    found = asyncio.run(SystemResolver(2)("images.example"))
    assert found == [ip_address("192.0.2.1"), ip_address("2001:db8::1")]
    assert asked == [b"images.example"]


def test_name_without_an_address_is_an_os_error(asked: list[bytes]) -> None:
    with pytest.raises(OSError, match="not known"):
        asyncio.run(SystemResolver(2)("nowhere.example"))


def test_look_up_that_hangs_keeps_its_turn_only_and_not_the_loop(asked: list[bytes]) -> None:
    async def run() -> None:
        resolve = SystemResolver(2)
        hanging = asyncio.create_task(resolve("slow.example"))
        await asyncio.sleep(0)
        assert len(await resolve("images.example")) == 2
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        second = asyncio.create_task(resolve("slow.example"))
        third = asyncio.create_task(resolve("images.example"))
        done, _ = await asyncio.wait({third}, timeout=0.05)
        assert not done  # both turns are taken, one of them by a look-up that nobody waits for
        GATE.set()
        assert len(await second) == len(await third) == 2

    asyncio.run(run())


def test_threads_do_not_hold_up_the_end_of_the_process(asked: list[bytes]) -> None:
    async def run() -> None:
        hanging = asyncio.create_task(SystemResolver(1)("slow.example"))
        while not asked:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)
        (thread,) = [one for one in threading.enumerate() if one.name == "resolve"]
        assert thread.daemon
        GATE.set()
        await hanging

    asyncio.run(run())

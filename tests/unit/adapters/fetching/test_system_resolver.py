"""Names are resolved in daemon threads, with a limit in total and for each domain."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from diptych.adapters.fetching.system_resolver import SystemResolver
from diptych.errors import Overloaded
from unit.core.core_fakes import FakeMetrics, until

GATE = threading.Event()


def fake_getaddrinfo(asked: list[bytes]) -> Any:
    def getaddrinfo(host: bytes, port: None, **options: Any) -> list[Any]:
        asked.append(host)
        if host == b"nowhere.example":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if b"slow" in host:
            assert GATE.wait(10)
        if b"vain" in host:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(0, 0, 0, "", (address, 0)) for address in ("192.0.2.1", "2001:db8::1", "192.0.2.1")]

    return getaddrinfo


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    asked: list[bytes] = []
    monkeypatch.setattr(socket, "getaddrinfo", fake_getaddrinfo(asked))
    GATE.clear()
    yield asked
    GATE.set()


def resolver(max_at_once: int, metrics: FakeMetrics | None = None) -> SystemResolver:
    return SystemResolver(max_at_once, metrics or FakeMetrics())


async def abandon(resolve: SystemResolver, *hosts: str) -> None:
    """Ask for each, and go away while the system is still asking."""
    for host in hosts:
        waiting = asyncio.create_task(resolve(host))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


def look_ups() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "resolve"]


async def no_look_ups() -> None:
    """Until all have ended, and the event loop has heard of it."""
    await until(lambda: not look_ups())
    await asyncio.sleep(0)


def test_every_address_comes_once_in_the_order_of_the_system(asked: list[bytes]) -> None:
    found = asyncio.run(resolver(2)("images.example"))
    assert found == [ip_address("192.0.2.1"), ip_address("2001:db8::1")]
    assert asked == [b"images.example"]


def test_name_without_an_address_is_an_os_error(asked: list[bytes]) -> None:
    with pytest.raises(OSError, match="not known"):
        asyncio.run(resolver(2)("nowhere.example"))


async def test_look_up_of_a_cancelled_call_keeps_its_slot_and_the_next_name_is_refused_at_once(
    asked: list[bytes],
) -> None:
    metrics = FakeMetrics()
    resolve = resolver(2, metrics)
    await abandon(resolve, "slow.one.example", "slow.two.test")
    with pytest.raises(Overloaded, match="2 names are being looked up") as caught:
        await resolve("images.other")
    assert caught.value.retry_after_s > 1
    assert metrics.rejected == {"fetch_full": 1}
    assert b"images.other" not in asked
    GATE.set()
    await no_look_ups()
    assert len(await resolve("images.other")) == 2


async def test_names_of_one_domain_have_a_quarter_of_the_slots_and_others_go_on(asked: list[bytes]) -> None:
    metrics = FakeMetrics()
    resolve = resolver(8, metrics)
    await abandon(resolve, "slow-1.hang.example", "slow-2.deeper.hang.example")
    for name in ("a.hang.example", "hang.example"):
        with pytest.raises(Overloaded, match="2 names of its domain"):
            await resolve(name)
    assert metrics.rejected == {"fetch_full": 2}
    for name in ("hang.test", "nothang.example"):
        assert len(await resolve(name)) == 2
    assert asked[2:] == [b"hang.test", b"nothang.example"]


async def test_second_call_for_a_name_joins_its_look_up_and_takes_no_slot(asked: list[bytes]) -> None:
    resolve = resolver(1)
    await abandon(resolve, "slow.example")
    joined = [asyncio.create_task(resolve("slow.example")) for _ in range(3)]
    await asyncio.sleep(0)
    joined[0].cancel()
    GATE.set()
    assert len(await joined[1]) == len(await joined[2]) == 2
    assert asked == [b"slow.example"]
    assert joined[0].cancelled()


async def test_all_joined_calls_get_the_failure_and_without_a_call_nothing_is_logged(
    asked: list[bytes],
) -> None:
    said: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: said.append(context))
    resolve = resolver(8)
    await abandon(resolve, "slow.vain.test")
    joined = [asyncio.create_task(resolve("slow.vain.example")) for _ in range(2)]
    await asyncio.sleep(0)
    GATE.set()
    for waiting in joined:
        with pytest.raises(OSError, match="Temporary failure"):
            await waiting
    await no_look_ups()
    assert said == []


async def test_threads_do_not_delay_the_end_of_the_process(asked: list[bytes]) -> None:
    hanging = asyncio.create_task(resolver(1)("slow.example"))
    await until(lambda: asked)
    (thread,) = look_ups()
    assert thread.daemon
    GATE.set()
    await hanging

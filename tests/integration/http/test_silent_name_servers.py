"""Names whose name server never answers hold up neither other names nor other requests."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from diptych.adapters.fetching.https_fetcher import FetchLimits, HttpsFetcher
from diptych.adapters.fetching.system_resolver import SystemResolver
from diptych.core.fetching.host_rules import parse_host_rules
from diptych.core.fetching.image_urls import ImageUrl, ImageUrls
from diptych.errors import Overloaded
from diptych.wiring.fetching import LOOK_UPS_PER_FETCH
from support.image_host import ADDRESS, NAME, RED, ImageHost
from support.own_internet import Wires
from unit.core.core_fakes import FakeMetrics, until

MAX_FETCHES = 8
OF_DOMAIN = MAX_FETCHES * LOOK_UPS_PER_FETCH // 4


@dataclass
class NameServers:
    """Answers for the image host; those of `*.hang.*` are silent until the gate opens."""

    gate: threading.Event
    asked: list[str]


@pytest.fixture
def name_servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServers]:
    real, servers = socket.getaddrinfo, NameServers(threading.Event(), [])

    def getaddrinfo(given: Any, *args: Any, **options: Any) -> Any:
        name = given.decode() if isinstance(given, bytes) else str(given)
        if name == NAME:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ADDRESS, 0))]
        if ".hang." not in name:
            return real(given, *args, **options)
        servers.asked.append(name)
        servers.gate.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield servers
    servers.gate.set()


class Setting:
    """Image URLs as they are wired, over the tests' own wires."""

    def __init__(self, host: ImageHost, rules: str = "public", timeout_s: float = 10.0) -> None:
        parsed = parse_host_rules(rules)
        assert parsed is not None
        self.metrics = FakeMetrics()
        fetcher = HttpsFetcher(
            parsed,
            FetchLimits(100_000, timeout_s),
            resolve=SystemResolver(LOOK_UPS_PER_FETCH * MAX_FETCHES, self.metrics),
            network=Wires(host.port),
            tls=host.tls,
        )
        self.urls = ImageUrls(
            fetcher, max_at_once=MAX_FETCHES, turn_s=10.0, total_s=60.0, metrics=self.metrics
        )

    async def get(self, *hosts: str) -> list[Any]:
        images: list[bytes | ImageUrl] = [ImageUrl(f"https://{name}/red.png") for name in hosts]
        return await self.urls.fetched(images, "input", lambda n_bytes: None)


async def hang(setting: Setting, servers: NameServers, domain: str) -> None:
    """Requests fill every turn with names of the domain, and their callers hang up."""
    n = len(servers.asked)
    requests = [
        asyncio.create_task(setting.get(*(f"{n}-{k}-{i}.hang.{domain}" for i in range(8)))) for k in range(4)
    ]
    await until(lambda: len(servers.asked) == n + MAX_FETCHES)
    for request in requests:
        request.cancel()
    await asyncio.gather(*requests, return_exceptions=True)


def test_good_host_is_fetched_while_look_ups_of_another_domain_hang(
    host: ImageHost, name_servers: NameServers
) -> None:
    async def run() -> None:
        setting = Setting(host)
        while len(name_servers.asked) < OF_DOMAIN:
            await hang(setting, name_servers, "example")
            assert await setting.get(NAME) == [RED]
        with pytest.raises(Overloaded, match=r"input\[0\]: 16 names of its domain"):
            await setting.get("one-more.hang.example")
        assert setting.metrics.rejected == {"fetch_full": 1}
        assert await setting.get(NAME) == [RED]

    asyncio.run(run())


def test_many_silent_domains_are_a_429_for_new_names_until_the_system_gives_up(
    host: ImageHost, name_servers: NameServers
) -> None:
    async def run() -> None:
        setting = Setting(host)
        for domain in ("one", "two", "three", "four"):
            for _ in range(OF_DOMAIN // MAX_FETCHES):
                await hang(setting, name_servers, domain)
        with pytest.raises(Overloaded, match=r"input\[0\]: 64 names are being looked up"):
            await setting.get(NAME)
        assert setting.metrics.rejected == {"fetch_full": 1}
        name_servers.gate.set()
        await until(lambda: not any(one.name == "resolve" for one in threading.enumerate()))
        assert await setting.get(NAME) == [RED]

    asyncio.run(run())

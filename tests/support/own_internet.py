"""An internet of the tests' own: names that resolve as they say, addresses that lead to loopback."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import httpcore

from diptych.core.fetching.public_addresses import IPAddress


@dataclass
class Names:
    """Resolves each name to its answers, one after the other; the last one for ever. Others do not exist."""

    answers: dict[str, list[list[str]]]
    asked: list[str] = field(default_factory=list)

    async def __call__(self, host: str) -> Sequence[IPAddress]:
        self.asked.append(host)
        if host not in self.answers:
            raise OSError("Name or service not known")
        waiting = self.answers[host]
        return list(map(ip_address, waiting.pop(0) if len(waiting) > 1 else waiting[0]))


@dataclass
class Wires(httpcore.AsyncNetworkBackend):
    """Every address but the `dead` ones leads to one port of loopback; remembers what was dialled."""

    port: int
    dead: Iterable[str] = ()
    dialled: list[tuple[str, int]] = field(default_factory=list)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        *_: Any,
        **__: Any,
    ) -> httpcore.AsyncNetworkStream:
        self.dialled.append((host, port))
        if host in self.dead:
            raise httpcore.ConnectError("connection refused")
        return await httpcore.AnyIOBackend().connect_tcp("127.0.0.1", self.port, timeout)

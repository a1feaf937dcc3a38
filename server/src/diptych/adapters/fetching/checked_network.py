"""Connects to hosts whose addresses are all public."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import ip_address
from typing import Any

import httpcore

from diptych.core.fetching.public_addresses import IPAddress
from diptych.errors import UnfetchableImage

MAX_DIALLED = 4  # addresses of one name that are tried at most
DIAL_TIMEOUT_S = 3.0


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Opens one connection.

    It resolves the name once, checks every address, and connects to a checked address.

    A name with any address that is not public is refused: its DNS server could otherwise choose which one is
    used.
    """

    def __init__(
        self,
        resolve: Callable[[str], Awaitable[Sequence[IPAddress]]],
        judge: Callable[[IPAddress], str | None],
        network: httpcore.AsyncNetworkBackend,
    ) -> None:
        self._resolve = resolve
        self._judge = judge
        self._network = network
        self._opened: httpcore.AsyncNetworkStream | None = None

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface; the fetch has a deadline
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first public address that answers.

        Raises UnfetchableImage, httpcore.ConnectError, and Overloaded if `resolve` does.
        """
        failure: Exception | None = None
        for address in (await self._public_addresses(host))[:MAX_DIALLED]:
            try:
                self._opened = await self._network.connect_tcp(
                    str(address), port, DIAL_TIMEOUT_S, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return self._opened
        raise failure or httpcore.ConnectError("no address")

    async def close(self) -> None:
        """Close the connection. httpcore does not close it when a TLS handshake is cancelled."""
        if self._opened is not None:
            await self._opened.aclose()

    async def _public_addresses(self, host: str) -> Sequence[IPAddress]:
        addresses = await self._addresses(host)
        if not addresses or any(self._judge(address) is not None for address in addresses):
            # One message for both cases: it must not reveal which names exist in the internal network.
            raise UnfetchableImage("its host has no address, or not only public ones")
        return addresses

    async def _addresses(self, host: str) -> Sequence[IPAddress]:
        try:
            return [ip_address(host)]
        except ValueError:
            pass
        try:
            return await self._resolve(host)
        except OSError:
            return []

"""Fetches image files with httpcore from public hosts only.

A URL is parsed once. Its host is checked against the rules, its name is resolved once, and every address is
checked. The connection goes to one of these addresses, while TLS and the Host header use the name. A redirect
starts from the beginning. httpcore itself follows no redirects, has no cookies and reads no proxy from the
environment.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import httpcore

from diptych import __version__
from diptych.adapters.fetching.checked_network import CheckedNetwork
from diptych.adapters.fetching.https_urls import HttpsUrl, parse_https_url
from diptych.core.fetching.host_rules import HostRules
from diptych.core.fetching.public_addresses import IPAddress, why_not_public
from diptych.errors import InvalidValue, TooLarge, UnfetchableImage

REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECTS = 3  # followed for one image
_HEADERS = (
    ("User-Agent", f"diptych/{__version__}"),  # some hosts refuse requests without it
    ("Accept", "image/*"),
    ("Accept-Encoding", "identity"),
    ("Connection", "close"),
)

Resolve = Callable[[str], Awaitable[Sequence[IPAddress]]]
AddressCheck = Callable[[IPAddress], str | None]


@dataclass(frozen=True)
class FetchLimits:
    """The maximum bytes of one image, and the maximum seconds to fetch it."""

    max_bytes: int
    timeout_s: float


class HttpsFetcher:
    """Satisfies `diptych.core.fetching.image_urls.ImageFetcher`. A connection is used for one request only.

    `judge` says what is wrong with an address, `network` opens connections, and `tls` holds the trusted
    certificate authorities. They are parameters so that tests can replace the internet.
    """

    def __init__(
        self,
        rules: HostRules,
        limits: FetchLimits,
        *,
        resolve: Resolve,
        judge: AddressCheck = why_not_public,
        network: httpcore.AsyncNetworkBackend | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._rules = rules
        self._limits = limits
        self._resolve = resolve
        self._judge = judge
        self._network = network or httpcore.AnyIOBackend()
        self._tls = tls or httpcore.default_ssl_context()  # the system's authorities and certifi's

    async def fetch(self, url: str, take: Callable[[int], None]) -> bytes:
        """Fetch the file within the limits; `take` is called with the bytes of each chunk before it is kept.

        Raises InvalidValue, UnfetchableImage, TooLarge, Overloaded, and what `resolve` or `take` raise.
        """
        allowed = self._allowed(parse_https_url(url))
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                return await self._follow(allowed, take)
        except TimeoutError:
            raise UnfetchableImage(f"was not fetched within {self._limits.timeout_s:g} s") from None

    def _allowed(self, url: HttpsUrl) -> HttpsUrl:
        """Return the URL itself. Raises InvalidValue if the rules do not allow its host or port."""
        if not self._rules.allow(url.host, url.port):
            raise InvalidValue("images may not be fetched from this host, or not on this port")
        if url.address is not None and (kind := self._judge(url.address)) is not None:
            raise InvalidValue(f"image URL has an address that is not public ({kind})")
        return url

    async def _follow(self, url: HttpsUrl, take: Callable[[int], None]) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            async with self._request(url) as response:
                if response.status not in REDIRECTS:
                    return await self._body(response, take)
                url = self._next(url, response)
        raise UnfetchableImage(f"has more than {MAX_REDIRECTS} redirects")

    def _next(self, url: HttpsUrl, response: httpcore.Response) -> HttpsUrl:
        locations = _values(response, b"location")
        if len(locations) != 1:
            raise UnfetchableImage(
                f"its host answered {response.status} with {len(locations)} Location headers"
            )
        try:
            return self._allowed(url.joined(locations[0].decode()))
        except (InvalidValue, UnicodeDecodeError) as error:
            reason = error.message if isinstance(error, InvalidValue) else "image URL is not UTF-8"
            raise UnfetchableImage(f"is redirected to a URL that is not followed: {reason}") from None

    @asynccontextmanager
    async def _request(self, url: HttpsUrl) -> AsyncIterator[httpcore.Response]:
        host, port = url.host.encode("ascii"), url.port
        network = CheckedNetwork(self._resolve, self._judge, self._network)
        connection = httpcore.AsyncHTTPConnection(
            httpcore.Origin(b"https", host, port), self._tls, network_backend=network
        )
        request_url = httpcore.URL(scheme=b"https", host=host, port=port, target=url.target.encode("ascii"))
        headers = [("Host", url.authority), *_HEADERS]
        try:
            with _httpcore_errors_translated():
                async with connection.stream("GET", request_url, headers=headers) as response:
                    yield response
        finally:
            await network.close()

    async def _body(self, response: httpcore.Response, take: Callable[[int], None]) -> bytes:
        if response.status != 200:
            raise UnfetchableImage(f"its host answered {response.status}")
        if any(value.strip().lower() != b"identity" for value in _values(response, b"content-encoding")):
            raise UnfetchableImage("its host compressed it, although the request forbids that")
        max_bytes = self._limits.max_bytes
        for declared in _values(response, b"content-length"):  # httpcore accepts digits only
            if int(declared) > max_bytes:
                raise TooLarge(f"image has {int(declared)} bytes, limit is {max_bytes}")
        body = bytearray()
        async for chunk in response.aiter_stream():
            if len(body) + len(chunk) > max_bytes:
                raise TooLarge(f"image is over the limit of {max_bytes} bytes")
            take(len(chunk))
            body += chunk
        return bytes(body)


def _values(response: httpcore.Response, name: bytes) -> list[bytes]:
    return [value for key, value in response.headers if key.lower() == name]


@contextmanager
def _httpcore_errors_translated() -> Iterator[None]:
    """Raise errors of httpcore as UnfetchableImage, with a message that repeats nothing that a host sent."""
    try:
        yield
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as error:
        if isinstance(error, TimeoutError):
            raise  # our own deadline
        raise UnfetchableImage(_message(error)) from None


def _message(error: Exception) -> str:
    cause = error if isinstance(error, ssl.SSLError) else error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return "its host's certificate is not valid for it"
    if isinstance(cause, ssl.SSLError):
        return "no TLS connection to its host is possible"
    if isinstance(error, httpcore.ConnectError | httpcore.ConnectTimeout):
        return "its host cannot be reached"
    if isinstance(error, httpcore.ProtocolError):
        return "its host answered with incomplete or invalid HTTP"
    return "the connection to its host broke off"

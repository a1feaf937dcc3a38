"""Translate requests, answers and errors between this package and httpx, for both clients."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from diptych_client.errors import (
    ClientError,
    ConnectionLost,
    InvalidCall,
    TimedOut,
    UnexpectedAnswer,
    Unreachable,
)
from diptych_client.steps import Answer, Request, json_bytes
from diptych_client.streams import BodyStream, file_body, tar_body

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", "8000"
DEFAULT_URL = f"http://{DEFAULT_HOST}:{DEFAULT_PORT}"
LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - the address that reaches a server on all addresses
DEFAULT_TIMEOUT_S = 60.0
MAX_TIMEOUT_S = 86_400.0
"""One day. Operating systems refuse waits of more than a few weeks."""


def default_url() -> str:
    """Return the default URL: DIPTYCH_URL, or else the address in DIPTYCH_HOST and DIPTYCH_PORT."""
    if url := os.environ.get("DIPTYCH_URL"):
        return url
    host, port = os.environ.get("DIPTYCH_HOST") or DEFAULT_HOST, os.environ.get("DIPTYCH_PORT") or ""
    if "://" in port:  # set by Kubernetes for a Service that is called `diptych`
        port = ""
    host = LOOPBACK_OF.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port or DEFAULT_PORT}"


def client_options(url: str, api_key: str | None, timeout_s: float) -> dict[str, Any]:
    """Return the options of the httpx client. Raises InvalidCall for invalid arguments."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InvalidCall(f"url {url!r} is not a URL: {error}") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise InvalidCall(f"url {url!r} must look like {DEFAULT_URL}")
    if not 0 < timeout_s <= MAX_TIMEOUT_S:
        raise InvalidCall(f"timeout_s is {timeout_s:g}, must be more than 0 and at most {MAX_TIMEOUT_S:g}")
    if api_key and not (api_key.isascii() and api_key.isprintable()):
        raise InvalidCall("api_key has characters other than printable ASCII, which no header can carry")
    return {
        "base_url": parsed,
        "headers": {"Authorization": f"Bearer {api_key}"} if api_key else {},
        "timeout": httpx.Timeout(timeout_s),
        "trust_env": not _is_loopback(parsed.host),  # a proxy of the environment cannot reach this machine
        # SSL_CERT_FILE counts on this machine, too
        "verify": httpx.create_ssl_context() if parsed.scheme == "https" else True,
    }


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def httpx_arguments(request: Request) -> dict[str, Any]:
    """Return the keyword arguments of `httpx.Client.request` except method and path. Raises InvalidCall."""
    arguments: dict[str, Any] = {"params": dict(request.params)}
    if request.json is not None:
        arguments["content"] = json_bytes("the request", request.json)
        arguments["headers"] = {"Content-Type": "application/json"}
    if request.parts:
        arguments["files"] = [
            (part.name, ("image", part.content, "application/octet-stream"))
            if part.is_file
            else (part.name, (None, part.content))
            for part in request.parts
        ]
    return arguments


@contextmanager
def opened_request(request: Request) -> Iterator[tuple[dict[str, Any], BodyStream | None]]:
    """Yield the arguments of `httpx_arguments` and the body to stream, if any. Raises UnreadableFile."""
    arguments = httpx_arguments(request)
    if request.file is None and not request.tar:
        yield arguments, None
        return
    with tar_body(request.tar) if request.file is None else file_body(request.file) as stream:
        arguments["headers"] = {"Content-Type": request.content_type, "Content-Length": str(stream.n_bytes)}
        yield arguments, stream


def sent_chunks(stream: BodyStream, on_progress: Callable[[int, int], None] | None) -> Iterator[bytes]:
    """Yield the chunks of a body; report each when the next one is asked for, as it was sent by then."""
    n_sent = 0
    for chunk in stream.chunks:
        yield chunk
        n_sent += len(chunk)
        if on_progress is not None:
            on_progress(n_sent, stream.n_bytes)


async def sent_chunks_async(
    stream: BodyStream, on_progress: Callable[[int, int], None] | None
) -> AsyncIterator[bytes]:
    """As `sent_chunks`, with chunks that are read in a thread."""
    n_sent = 0
    while chunk := await asyncio.to_thread(next, stream.chunks, b""):
        yield chunk
        n_sent += len(chunk)
        if on_progress is not None:
            on_progress(n_sent, stream.n_bytes)


def read_answer(response: httpx.Response) -> Answer:
    """Convert an httpx response that has been read."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers, response.content)


@contextmanager
def httpx_errors_translated(url: str) -> Iterator[None]:
    """Raise the exceptions of this package, which name the server, instead of those of httpx."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise TimedOut(f"{url} did not answer in time ({_message(error)})") from error
    except (httpx.DecodingError, httpx.TooManyRedirects) as error:
        raise UnexpectedAnswer(f"{url} gave an answer that cannot be read: {_message(error)}") from error
    except (httpx.ReadError, httpx.WriteError, httpx.CloseError, httpx.RemoteProtocolError) as error:
        raise ConnectionLost(f"cannot reach {url}: {_message(error)}. Is `diptych serve` running?") from error
    except httpx.TransportError as error:
        raise Unreachable(f"cannot reach {url}: {_message(error)}. Is `diptych serve` running?") from error
    except UnicodeEncodeError as error:  # from a query string
        raise InvalidCall(f"{error.object[:100]!r} has a lone surrogate, which is not a character") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ClientError(f"request to {url} failed: {_message(error)}") from error


def _message(error: Exception) -> str:
    """Return the message without error number and full stop, for use in a sentence."""
    return re.sub(r"^\[Errno -?\d+\] ", "", str(error)).rstrip(". ") or type(error).__name__

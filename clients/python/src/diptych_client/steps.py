"""The steps of a call as values: requests, file reads, PNG encoding and pauses.

A call is a generator. It yields a `Request`, a `ReadFile`, an `EncodePng` or a `Sleep`, and is sent an
`Answer`, the bytes, or None. `Client` and `AsyncClient` only carry the steps out, so every call is written
once for both, without any input or output of its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote

from diptych_client.errors import (
    ClientError,
    ConnectionLost,
    InvalidCall,
    Problem,
    UnexpectedAnswer,
    Unreachable,
    api_error,
)
from diptych_client.pixels import PillowImage, PixelArray
from diptych_client.reading import read

T = TypeVar("T")

MAX_ATTEMPTS = 5
MAX_RETRY_AFTER_S = 60.0
"""If a server asks for a longer wait, the error is raised instead, and the caller decides."""
PROXY_STATUSES = {502, 504}
"""Statuses of a proxy whose server is restarting, usually without Retry-After."""
TAR = "application/x-tar"
PROBLEM_JSON = "application/problem+json"
NOT_DIPTYCH = "the answer did not come from diptych: is there a proxy in front of it?"
NOT_DIPTYCH_413 = (
    "the body was refused, but not by diptych: a proxy in front of it seems to have a smaller limit"
)


@dataclass(frozen=True)
class Part:
    """One part of a multipart body: a text field, or a file when `is_file`."""

    name: str
    content: bytes
    is_file: bool = False


@dataclass(frozen=True)
class Request:
    """One HTTP request with a JSON body, a multipart body, or a body of `content_type` that is streamed.

    A streamed body is a `file`, or the files of `tar` as an archive; `on_progress` gets the number of bytes
    sent and of all. `repeatable`: a server that was too busy may be asked again. `idempotent`: so may a
    server that may have carried the request out, since the answer would be the same.
    """

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    json: object = None
    parts: Sequence[Part] = ()
    repeatable: bool = True
    idempotent: bool = True
    file: Path | None = None
    tar: Sequence[Path] = ()
    content_type: str = ""
    on_progress: Callable[[int, int], None] | None = None


@dataclass(frozen=True)
class ReadFile:
    """Read a regular file of at most `max_bytes`. The result is its bytes, or an UnreadableFile."""

    path: Path
    max_bytes: int


@dataclass(frozen=True)
class EncodePng:
    """Encode an image in memory as a PNG file. The result is the bytes of the file."""

    image: PillowImage | PixelArray


@dataclass(frozen=True)
class Sleep:
    """Wait. There is no result."""

    seconds: float


@dataclass(frozen=True)
class Answer:
    """A complete HTTP response. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """Return the body as JSON. Raises UnexpectedAnswer."""
        try:
            return json.loads(self.content)
        except ValueError as error:
            kind = self.headers.get("content-type", "no content type")
            raise UnexpectedAnswer(
                f"HTTP {self.status} with {kind}, which is not JSON: is this a diptych server?"
            ) from error


Effect: TypeAlias = Request | ReadFile | EncodePng | Sleep
Steps: TypeAlias = Generator[Effect, Any, T]


def path_of(*segments: str) -> str:
    """Return `/a/b/c` with quoted segments. Raises InvalidCall for one that would name another resource.

    URL normalisation drops ``.`` and resolves ``..``: deleting the image ``..`` would delete its collection.
    """
    for segment in segments:
        if segment in {"", ".", ".."}:
            raise InvalidCall(f"{segment!r} cannot be a name or an id")
    return "/" + "/".join(quote(utf8(segment), safe="") for segment in segments)


def utf8(text: str) -> bytes:
    """Encode `text` in UTF-8. Raises InvalidCall for a lone surrogate, which undecodable bytes become."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidCall(f"{text[:100]!r} has a lone surrogate, which is not a character") from error


def json_bytes(name: str, value: object) -> bytes:
    """Encode `value` as JSON in ASCII. Raises InvalidCall for what JSON lacks: NaN, infinities, objects."""
    try:
        return json.dumps(value, allow_nan=False).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidCall(f"{name} cannot be written as JSON: {error}") from error


def exchange(request: Request) -> Steps[Answer]:
    """Send a request, and repeat it if the server says when to retry or a proxy does not reach the server.

    Raises ApiError when the server refuses the request.
    """
    for attempt in range(1, MAX_ATTEMPTS + 1):
        answer: Answer = yield request
        wait_s = _retry_after_s(answer, attempt) if request.repeatable and attempt < MAX_ATTEMPTS else None
        if wait_s is None:
            break
        yield Sleep(wait_s)
    if answer.status >= 400:
        raise api_error(_problem(answer))
    if answer.status >= 300:
        raise UnexpectedAnswer(f"HTTP {answer.status} redirects elsewhere: is the URL right?")
    return answer


def result_of(request: Request, kind: type[T], key: str | None = None) -> Steps[T]:
    """Send a request as `exchange` does. Return its answer, or the value of a `key` of it, as `kind`."""
    answer = yield from exchange(request)
    return read(kind, answer.json(), f"{request.method} {request.path}", key)


def resumed(steps: Steps[T]) -> Steps[T]:
    """Carry out the steps, and repeat a request whose connection is lost.

    A refused connection is an error at once, unless the same call has had an answer: then the server may be
    starting again.
    """
    n_answers = 0
    try:
        effect = next(steps)
        while True:
            try:
                result = yield from _repeated(effect, has_answer=n_answers > 0)
            except ClientError as error:
                effect = steps.throw(error)
            else:
                n_answers += isinstance(effect, Request)
                effect = steps.send(result)
    except StopIteration as finished:
        value: T = finished.value
        return value


def _repeated(effect: Effect, *, has_answer: bool) -> Steps[Any]:
    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            return (yield effect)
        except Unreachable as error:
            may_repeat = isinstance(effect, Request) and effect.repeatable and effect.idempotent
            was_there = has_answer or isinstance(error, ConnectionLost) or attempt > 1
            if not (may_repeat and was_there) or attempt == MAX_ATTEMPTS:
                raise
        yield Sleep(2.0 ** (attempt - 1))
    raise AssertionError("the last attempt returns or raises")


def _retry_after_s(answer: Answer, attempt: int) -> float | None:
    is_proxy = answer.status in PROXY_STATUSES and not _is_from_diptych(answer)
    if answer.status not in {429, 503} and not is_proxy:
        return None
    try:
        wait_s = float(answer.headers.get("retry-after", 2.0**attempt if is_proxy else ""))
    except ValueError:
        return None
    return wait_s if math.isfinite(wait_s) and 0 <= wait_s <= MAX_RETRY_AFTER_S else None


def _is_from_diptych(answer: Answer) -> bool:
    """Whether diptych sent this error. Its 400 for an unreadable request is bare, without a problem body."""
    return answer.status == 400 or answer.headers.get("content-type", "").startswith(PROBLEM_JSON)


def _problem(answer: Answer) -> Problem:
    """Return the problem in an answer, or one that says who else may have answered."""
    try:
        body = json.loads(answer.content)
    except ValueError:
        body = None
    fields = body if isinstance(body, dict) else {}
    request_id = fields.get("request_id") or answer.headers.get("x-request-id")
    if not _is_from_diptych(answer) and not fields.get("detail"):
        fields = {**fields, "detail": NOT_DIPTYCH_413 if answer.status == 413 else NOT_DIPTYCH}
    return Problem.from_json(fields, answer.status, request_id)

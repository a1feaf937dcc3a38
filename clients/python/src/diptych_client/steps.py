"""What a call needs from the world, as values; knows neither sockets nor files nor clocks.

A call is a generator. It yields a `Request`, a `ReadFile`, an `EncodePng` or a `Sleep`, and is sent an
`Answer`, the bytes, or None. `Client` and `AsyncClient` only carry these out, so that every call is written
once for both.
"""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote

from diptych_client.errors import InvalidCall, Problem, UnexpectedAnswer, api_error
from diptych_client.pixels import PillowImage, PixelArray

T = TypeVar("T")

MAX_ATTEMPTS = 5
MAX_RETRY_AFTER_S = 60.0
"""A server that asks for a longer wait is reported to the caller, who can decide better."""
BY_PROXIES = {502, 504}
"""A proxy answers so while its server is started again, and mostly does not say when to come back."""
PROBLEM_JSON = "application/problem+json"
FOREIGN = "it was not diptych that answered: is there a proxy in front of it?"
FOREIGN_413 = (
    "it was not diptych that refused the body but, it seems, a proxy in front of it, "
    "whose limit of a body is smaller"
)


@dataclass(frozen=True)
class Part:
    """One part of a multipart body: a text field, or a file when `is_file`."""

    name: str
    content: bytes
    is_file: bool = False


@dataclass(frozen=True)
class Request:
    """One HTTP request with a `json` or a multipart body, or a `file` that is streamed.

    `repeatable`: sending it twice does no harm.
    """

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    json: object = None
    parts: Sequence[Part] = ()
    repeatable: bool = True
    file: Path | None = None
    content_type: str = ""  # of the file


@dataclass(frozen=True)
class ReadFile:
    """The bytes of a file are needed."""

    path: Path


@dataclass(frozen=True)
class EncodePng:
    """The bytes of an image in memory are needed, as a PNG file."""

    image: PillowImage | PixelArray


@dataclass(frozen=True)
class Sleep:
    """Nothing is to be done for a while."""

    seconds: float


@dataclass(frozen=True)
class Answer:
    """A complete HTTP answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """The body as JSON. Raises UnexpectedAnswer."""
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
    """`/a/b/c` with each segment quoted. Raises InvalidCall for one that would name another resource.

    URL normalisation drops ``.`` and resolves ``..``: deleting the image ``..`` would delete its collection.
    """
    for segment in segments:
        if segment in {"", ".", ".."}:
            raise InvalidCall(f"{segment!r} cannot be a name or an id")
    return "/" + "/".join(quote(utf8(segment), safe="") for segment in segments)


def utf8(text: str) -> bytes:
    """`text` in UTF-8. Raises InvalidCall for a lone surrogate, as bytes that are not UTF-8 leave behind."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidCall(f"{text[:100]!r} has a lone surrogate, which is not a character") from error


def json_bytes(name: str, value: object) -> bytes:
    """`value` as JSON in ASCII. Raises InvalidCall for what JSON does not have: NaN, infinities, objects."""
    try:
        return json.dumps(value, allow_nan=False).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidCall(f"{name} cannot be written as JSON: {error}") from error


def exchange(request: Request) -> Steps[Answer]:
    """Send, wait and send again while the server says when to come back, or a proxy has no answer of it.

    Raises ApiError for a refusal.
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


def _retry_after_s(answer: Answer, attempt: int) -> float | None:
    is_proxy = answer.status in BY_PROXIES and not _is_ours(answer)
    if answer.status not in {429, 503} and not is_proxy:
        return None
    try:
        wait_s = float(answer.headers.get("retry-after", 2.0**attempt if is_proxy else ""))
    except ValueError:
        return None
    return wait_s if math.isfinite(wait_s) and 0 <= wait_s <= MAX_RETRY_AFTER_S else None


def _is_ours(answer: Answer) -> bool:
    """Whether diptych gave this refusal; 400 is the answer to what it cannot read as HTTP, and bare."""
    return answer.status == 400 or answer.headers.get("content-type", "").startswith(PROBLEM_JSON)


def _problem(answer: Answer) -> Problem:
    """The problem that an answer carries; who else may have answered when it carries none."""
    try:
        body = json.loads(answer.content)
    except ValueError:
        body = None
    fields = body if isinstance(body, dict) else {}
    request_id = fields.get("request_id") or answer.headers.get("x-request-id")
    if not _is_ours(answer) and not fields.get("detail"):
        fields = {**fields, "detail": FOREIGN_413 if answer.status == 413 else FOREIGN}
    return Problem.from_json(fields, answer.status, request_id)

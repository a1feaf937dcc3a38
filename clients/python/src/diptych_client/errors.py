"""Every error this client raises on purpose; knows nothing of how requests are sent.

ClientError
├── InvalidCall          the arguments contradict each other or cannot be sent (also a ValueError)
├── Unreachable          no connection, or it broke off before the answer was complete
├── TimedOut             no answer within `timeout_s`
├── UnexpectedAnswer     something answered, but not in the shape a diptych server answers in
├── UnreadableFile       an image given as a path cannot be read, or one in memory not written as PNG
├── VersionChanged       the server moved to another model version between two parts of one call
└── ApiError             the server refused: status, title, detail, item, request_id
    ├── BadRequest       400  not parseable as its content type
    ├── Unauthorized     401  the API key is missing or wrong
    ├── Forbidden        403  not allowed from here
    ├── NotFound         404  no such collection, image or model
    ├── Conflict         409  the id is taken by other bytes, or the name is taken
    ├── TooLarge         413  over a limit in bytes, pixels or items
    ├── UnsupportedImage 415  no decoder for these bytes
    ├── InvalidValue     422  the decoder failed, or a value is outside its limit
    ├── Overloaded       429  a queue is full
    ├── ServerError      5xx  a failure inside the server; its log has the request id
    └── NotReady         503  starting, stopping, or the encoder does not answer
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class ClientError(Exception):
    """Base of all errors that this client raises on purpose."""


class InvalidCall(ClientError, ValueError):
    """The arguments of a call contradict each other or cannot be sent; nothing was."""


class Unreachable(ClientError):
    """No connection to the server, or it broke off."""


class TimedOut(ClientError):
    """The server did not answer in time."""


class UnexpectedAnswer(ClientError):
    """An answer that no diptych server gives: not JSON, or a key is missing."""


class UnreadableFile(ClientError):
    """A file given as an image cannot be read, or an image in memory cannot be written as PNG."""


class VersionChanged(ClientError):
    """The server moved to another model version within one call; vectors of two versions do not compare."""


@dataclass(frozen=True)
class Problem:
    """The fields of an `application/problem+json` answer (RFC 9457) and its HTTP status."""

    status: int
    title: str
    detail: str = ""
    item: str | None = None
    request_id: str | None = None

    @classmethod
    def from_json(cls, fields: Mapping[str, Any], status: int, request_id: str | None = None) -> Problem:
        """The problem in a body, as far as it has one. `detail` is taken without the item it begins with."""
        item = fields.get("item")
        return cls(
            status=status,
            title=str(fields.get("title") or f"HTTP {status}"),
            detail=str(fields.get("detail") or "").removeprefix(f"{item}: "),
            item=str(item) if item else None,
            request_id=request_id,
        )


class ApiError(ClientError):
    """The server refused, and said why. `item` names what was at fault, such as ``images[3]``."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem

    @property
    def status(self) -> int:
        """HTTP status, such as 422."""
        return self.problem.status

    @property
    def title(self) -> str:
        """The kind of refusal in a few words."""
        return self.problem.title

    @property
    def detail(self) -> str:
        """What was wrong, the value and the limit; may be empty."""
        return self.problem.detail

    @property
    def item(self) -> str | None:
        """Which part of the call was at fault."""
        return self.problem.item

    @property
    def request_id(self) -> str | None:
        """The id under which the server logged the request."""
        return self.problem.request_id

    def __str__(self) -> str:
        named = f"{self.item}: " if self.item else ""
        return f"{named}{self.detail or self.title} (HTTP {self.status})"


class BadRequest(ApiError):
    """400: not parseable as its content type."""


class Unauthorized(ApiError):
    """401: the API key is missing or wrong."""


class Forbidden(ApiError):
    """403: not allowed from here."""


class NotFound(ApiError):
    """404: no such collection, image or model."""


class Conflict(ApiError):
    """409: the id belongs to other bytes, or the name is taken."""


class TooLarge(ApiError):
    """413: over a limit in bytes, pixels or items."""


class UnsupportedImage(ApiError):
    """415: no decoder for these bytes."""


class InvalidValue(ApiError):
    """422: the decoder failed, or a value is outside its limit."""


class Overloaded(ApiError):
    """429: a queue is full; trying again later makes sense."""


class ServerError(ApiError):
    """5xx: a failure inside the server."""


class NotReady(ServerError):
    """503: starting, stopping, or the encoder does not answer."""


BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    415: UnsupportedImage,
    422: InvalidValue,
    429: Overloaded,
    503: NotReady,
}


def api_error(problem: Problem) -> ApiError:
    """The error class of `problem.status`."""
    fallback = ServerError if problem.status >= 500 else ApiError
    return BY_STATUS.get(problem.status, fallback)(problem)

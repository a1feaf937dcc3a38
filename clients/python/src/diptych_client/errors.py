"""All exceptions that this client raises on purpose.

ClientError
├── InvalidCall          the arguments contradict each other or cannot be sent (also a ValueError)
├── Unreachable          no connection, or it broke before the answer was complete
│   └── ConnectionLost   it broke: the server may have carried the request out
├── TimedOut             no answer within `timeout_s`
├── UnexpectedAnswer     something answered, but not as a diptych server does
├── UnreadableFile       a file cannot be read, or an image in memory cannot be written as PNG
├── VersionChanged       the server moved to another model version between two parts of one call
└── ApiError             the server refused the request: status, title, detail, item, request_id
    ├── BadRequest       400  not parseable as its content type
    ├── Unauthorized     401  the API key is missing, unknown, revoked or expired
    ├── Forbidden        403  the key does not allow it, or not from here
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
    """Base class of all exceptions that this client raises on purpose."""


class InvalidCall(ClientError, ValueError):
    """The arguments of a call contradict each other or cannot be sent. Nothing was sent."""


class Unreachable(ClientError):
    """No connection to the server, or it broke."""


class ConnectionLost(Unreachable):
    """The connection broke before the answer was complete. The server may have carried the request out."""


class TimedOut(ClientError):
    """The server did not answer in time."""


class UnexpectedAnswer(ClientError):
    """An answer that no diptych server gives: not JSON, or a key is missing."""


class UnreadableFile(ClientError):
    """A file cannot be read, or an image in memory cannot be written as PNG."""


class FileTooLarge(UnreadableFile):
    """A file is larger than the server takes."""


class VersionChanged(ClientError):
    """The server changed to another model version during one call. Vectors of two versions do not compare."""


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
        """Read the problem in a body, as far as it has one. Leaves out the item that `detail` begins with."""
        item = fields.get("item")
        return cls(
            status=status,
            title=str(fields.get("title") or f"HTTP {status}"),
            detail=str(fields.get("detail") or "").removeprefix(f"{item}: "),
            item=str(item) if item else None,
            request_id=request_id,
        )


class ApiError(ClientError):
    """The server refused the request. `item` names the faulty part of the call, such as ``images[3]``."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem

    @property
    def status(self) -> int:
        """HTTP status, such as 422."""
        return self.problem.status

    @property
    def title(self) -> str:
        """The kind of error in a few words."""
        return self.problem.title

    @property
    def detail(self) -> str:
        """What was wrong, with value and limit; may be empty."""
        return self.problem.detail

    @property
    def item(self) -> str | None:
        """The faulty part of the call."""
        return self.problem.item

    @property
    def request_id(self) -> str | None:
        """The id of the request in the log of the server."""
        return self.problem.request_id

    def __str__(self) -> str:
        named = f"{self.item}: " if self.item else ""
        return f"{named}{self.detail or self.title} (HTTP {self.status})"


class BadRequest(ApiError):
    """400: not parseable as its content type."""


class Unauthorized(ApiError):
    """401: the API key is missing or wrong."""


class Forbidden(ApiError):
    """403: the key does not allow the call, or it is not allowed from here."""


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
    """429: a queue is full. The same call may succeed later."""


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
    """Return the exception for `problem`, of the class of its status."""
    fallback = ServerError if problem.status >= 500 else ApiError
    return BY_STATUS.get(problem.status, fallback)(problem)

"""Answers, as bytes, to what never became a request. Knows nothing of connections."""

from dataclasses import dataclass
from http import HTTPStatus

from diptych.core.ports import Reason
from diptych.http.problems import NOT_READY_RETRY_S, http_problem
from diptych.http.refusals import PROBLEM_JSON

MAX_TARGET_BYTES = 65_535  # path and query string; what the parser can say positions in
MAX_HEAD_BYTES = 131_072
MAX_FIELDS = 200  # headers; each costs memory beside its bytes
# On every answer: browsers neither guess what it is nor let a page of another origin show it.
SAFE_HEADERS = {"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin"}
MAX_PIPELINED = 100  # requests sent ahead, each kept until those before it are answered


@dataclass(frozen=True)
class TurnedAway:
    """`reason` is the word of log and metrics."""

    status: int
    reason: Reason
    detail: str

    def answer(self, request_id: str) -> bytes:
        """A whole HTTP/1.1 response with the problem as its body, after which nothing comes."""
        problem = http_problem(self.status, self.detail, request_id)
        body = problem.model_dump_json(exclude_none=True).encode()
        headers = {
            "content-type": PROBLEM_JSON,
            "content-length": len(body),
            "connection": "close",
            "x-request-id": request_id,
            **SAFE_HEADERS,
        }
        if self.status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers["retry-after"] = NOT_READY_RETRY_S
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + body


NOT_HTTP = TurnedAway(400, "malformed_head", "not an HTTP/1.1 request")
TOO_MANY_AHEAD = TurnedAway(400, "malformed_head", f"over {MAX_PIPELINED} requests were sent ahead")
TOO_SLOW = TurnedAway(408, "header_timeout", "head was not complete in time")
LONG_TARGET = TurnedAway(414, "head_too_large", f"target is over the limit of {MAX_TARGET_BYTES} bytes")
TOO_LARGE = TurnedAway(431, "head_too_large", f"head is over {MAX_HEAD_BYTES} bytes or {MAX_FIELDS} fields")
GAVE_WAY = TurnedAway(408, "connections_full", "all connections are taken, and this body came slowest")
FULL = TurnedAway(503, "connections_full", "all connections are busy")

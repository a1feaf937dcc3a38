"""Middleware that limits the memory that all request bodies hold together."""

from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diptych.core.fetching.image_urls import ReserveBytes
from diptych.errors import Overloaded, TooLarge
from diptych.http.state import ServerState

_RESERVE = "diptych_reserve"
_RELEASE = "diptych_release"


@dataclass
class _Held:
    """The bytes that one request holds."""

    n_bytes: int = 0


class BodyBudgetMiddleware:
    """A request holds memory from the first chunk of its body until its response begins, or it is abandoned.

    A chunk over the budget raises Overloaded where the body is read, which makes the response a 429. Bytes
    that the request fetches from elsewhere count as if they were in its body. `max_bytes` must be at least
    the size of the largest body, so that a request that is alone always fits.
    """

    def __init__(self, app: ASGIApp, state: ServerState, max_bytes: int) -> None:
        self._app = app
        self._state = state
        self._max_bytes = max_bytes
        self._n_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        held = _Held()

        def reserve(n_bytes: int) -> None:
            limit = self._state.options.limits.max_body_bytes
            if held.n_bytes + n_bytes > limit:
                raise TooLarge(f"the body and the fetched files have over {limit} bytes together")
            self._take(held, n_bytes)

        def release(n_bytes: int) -> None:
            freed = min(n_bytes, held.n_bytes)
            self._n_bytes -= freed
            held.n_bytes -= freed

        async def receive_and_count() -> Message:
            message = await receive()
            self._take(held, len(message.get("body", b"")))
            return message

        async def release_and_send(message: Message) -> None:
            self._release_all(held)  # the response does not need the body, and its reader may be slow
            await send(message)

        scope.setdefault("state", {}).update({_RESERVE: reserve, _RELEASE: release})
        try:
            await self._app(scope, receive_and_count, release_and_send)
        finally:
            self._release_all(held)

    def _take(self, held: _Held, n_bytes: int) -> None:
        if self._n_bytes + n_bytes > self._max_bytes:
            self._state.count_rejected("bodies_full")
            raise Overloaded(f"bodies of {self._n_bytes} bytes are being read, limit is {self._max_bytes}")
        self._n_bytes += n_bytes
        held.n_bytes += n_bytes

    def _release_all(self, held: _Held) -> None:
        self._n_bytes -= held.n_bytes
        held.n_bytes = 0


def memory_reserver(request: Request) -> ReserveBytes:
    """A function to call with the number of bytes that the request is about to hold in addition to its body.

    It raises TooLarge if the request would then hold more than a body may have, Overloaded if the budget of
    all requests is used up.
    """
    reserve: ReserveBytes = request.scope["state"][_RESERVE]
    return reserve


def memory_releaser(request: Request) -> Callable[[int], None]:
    """A function to call with the number of bytes of the body that the request no longer holds in memory."""
    release: Callable[[int], None] = request.scope["state"][_RELEASE]
    return release

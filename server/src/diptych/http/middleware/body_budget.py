"""Middleware that bounds the bytes of all bodies held at once. Knows nothing of what is in them."""

from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diptych.errors import Overloaded, TooLarge
from diptych.http.state import ServerState

Take = Callable[[int], None]
_KEY = "diptych_room"
_LET_GO = "diptych_let_go"


@dataclass
class _Held:
    """The bytes of one request's body so far."""

    n_bytes: int = 0


class BodyBudget:
    """A body holds room from its first chunk until its answer begins, or its caller is gone.

    The chunk that finds no room raises Overloaded where the body is read, and so becomes that request's
    429. What a request fetches elsewhere counts as if its body had brought it. `max_bytes` must be enough
    for the largest body: then a request that is alone always fits.
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

        def fetched(n_bytes: int) -> None:
            limit = self._state.options.limits.max_body_bytes
            if held.n_bytes + n_bytes > limit:
                raise TooLarge(f"what is fetched and the body have over {limit} bytes together")
            self._take(held, n_bytes)

        async def counted() -> Message:
            message = await receive()
            self._take(held, len(message.get("body", b"")))
            return message

        async def answering(message: Message) -> None:
            self._give_back(held)  # the answer does not need the body, and its reader may be slow
            await send(message)

        def let_go(n_bytes: int) -> None:
            freed = min(n_bytes, held.n_bytes)
            self._n_bytes -= freed
            held.n_bytes -= freed

        scope.setdefault("state", {}).update({_KEY: fetched, _LET_GO: let_go})
        try:
            await self._app(scope, counted, answering)
        finally:
            self._give_back(held)

    def _take(self, held: _Held, n_bytes: int) -> None:
        if self._n_bytes + n_bytes > self._max_bytes:
            self._state.count_rejected("bodies_full")
            raise Overloaded(f"bodies of {self._n_bytes} bytes are being read, limit is {self._max_bytes}")
        self._n_bytes += n_bytes
        held.n_bytes += n_bytes

    def _give_back(self, held: _Held) -> None:
        self._n_bytes -= held.n_bytes
        held.n_bytes = 0


def room_of(request: Request) -> Take:
    """Called with a number of bytes that the request is going to hold beside its body.

    Raises TooLarge when it would have more than a body may, Overloaded when there is no room now.
    """
    take: Take = request.scope["state"][_KEY]
    return take


def let_go_of(request: Request) -> Callable[[int], None]:
    """Called with a number of bytes of the body that the request no longer holds in memory."""
    let_go: Callable[[int], None] = request.scope["state"][_LET_GO]
    return let_go

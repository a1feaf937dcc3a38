"""Callers that hang up, and callers that take their time; knows what they ask, not what else is asked."""

import asyncio
from collections.abc import Awaitable, Callable

from benchmarks.serving.http_message import Part
from benchmarks.soak.caller import Caller, Wrong
from benchmarks.soak.connection import Connection, NoAnswer
from benchmarks.soak.messages import get, items_part, plain, post_form, post_picture
from benchmarks.soak.vectors import part_of
from benchmarks.soak.world import ABANDONED, GALLERY, World, rows

GONE, SLOW = "caller that hangs up", "slow body"
LONGEST_WAIT_S = 0.2
N_ABANDONED = 32  # ids of adds that nobody waits for
PICTURES_PER_FORM = 16
N_PIECES, PIECE_EVERY_S = 20, 0.2
TRICKLE_EVERY_S = 1.0
TRICKLE_BYTES = 1000  # more than come before the server's time for a body is over

Deed = Callable[[Caller, World], Awaitable[None]]


async def half_a_head(caller: Caller, world: World) -> None:
    await _leave(caller, world, b"POST /embed HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Ty")


async def half_a_body(caller: Caller, world: World) -> None:
    message = post_picture("/embed", world.draw.choice(world.photos).payload, "image/jpeg")
    await _leave(caller, world, message[: len(message) // 2])


async def before_the_answer(caller: Caller, world: World) -> None:
    """With much to do for nobody."""
    pictures = world.draw.sample(world.pictures, PICTURES_PER_FORM)
    await _leave(caller, world, post_form("/embed", list(map(part_of, pictures))))


async def before_the_outcome(caller: Caller, world: World) -> None:
    """Of an add, which goes on to its end or never begins."""
    ids = world.draw.sample(range(N_ABANDONED), 2)
    parts = [Part("image", world.new_picture(), "image/png") for _ in ids]
    items = items_part([{"id": f"v{number}"} for number in ids])
    await _leave(caller, world, post_form(f"/collections/{ABANDONED}/images?replace=true", [*parts, items]))


async def within_the_answer(caller: Caller, world: World) -> None:
    """A long one, of which the beginning is read."""
    await _leave(caller, world, get(f"/collections/{GALLERY}/images?limit=640"), n_read=100)


async def in_pieces(caller: Caller, world: World) -> None:
    """A picture that comes slowly, but comes, is as good as any other."""
    known = world.draw.choice(world.known)
    message = post_picture("/embed", known.picture.payload, known.picture.media_type)
    size = -(-len(message) // N_PIECES)
    pieces = [message[i : i + size] for i in range(0, len(message), size)]
    answer = await caller.hostile(
        SLOW, "in pieces", *pieces, wanted={200}, pause_s=PIECE_EVERY_S, afresh=True
    )
    caller.compare("slow body", rows(answer)[0], known.row)


async def for_ever(caller: Caller, world: World) -> None:
    """A byte now and then, until the server has enough of it."""
    head = plain("POST", "/embed", Content_Type="image/png", Content_Length=str(TRICKLE_BYTES))
    await caller.hostile(
        SLOW,
        "for ever",
        head,
        *[b"x"] * (TRICKLE_BYTES - 1),
        wanted={408},
        pause_s=TRICKLE_EVERY_S,
        afresh=True,
    )


LEAVING: tuple[Deed, ...] = (
    half_a_head,
    half_a_body,
    before_the_answer,
    before_the_outcome,
    within_the_answer,
)
DAWDLING: tuple[Deed, ...] = (in_pieces, for_ever)


async def _leave(caller: Caller, world: World, data: bytes, n_read: int = 0) -> None:
    """Send this, read so much of the answer, wait a moment, and hang up."""
    connection = Connection(caller.port)
    try:
        reader = await connection.send(data)
        if n_read:
            await reader.readexactly(n_read)
        else:
            await asyncio.sleep(world.draw.uniform(0, LONGEST_WAIT_S))
    except (NoAnswer, EOFError, OSError) as error:
        raise Wrong(f"{GONE}: {error}") from error
    finally:
        connection.close()
    caller.gone(GONE)

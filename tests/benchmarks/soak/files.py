"""Send the files of the hostile corpus, in every way that an image may come; knows no other request."""

import base64
import json
import random
from collections.abc import Awaitable, Callable, Iterator

from benchmarks.serving.http_message import OCTETS, Part
from benchmarks.soak.caller import Caller, Wrong
from benchmarks.soak.messages import items_part, post_form, post_json, post_picture
from benchmarks.soak.vectors import part_of
from benchmarks.soak.world import GALLERY, ODD, World, rows
from support.hostile.corpus import corpus
from support.hostile.entry import Hostile

KIND = "file of the corpus"
LABELS = ("cat", "dog")

Way = Callable[[Caller, World, int, Hostile], Awaitable[None]]


def shuffled(draw: random.Random) -> Iterator[tuple[int, Hostile]]:
    """All files of the corpus with their numbers, again and again in another order."""
    numbered = list(enumerate(corpus()))
    while True:
        draw.shuffle(numbered)
        yield from numbered


async def raw(caller: Caller, world: World, number: int, entry: Hostile) -> None:
    """As the whole body."""
    message = post_picture("/embed", entry.payload)
    await caller.hostile(KIND, f"{entry.name}, raw", message, wanted=entry.statuses)


async def data_uri(caller: Caller, world: World, number: int, entry: Hostile) -> None:
    """As text inside of JSON, against labels."""
    uri = f"data:image/png;base64,{base64.b64encode(entry.payload).decode()}"
    message = post_json("/classify", {"images": [uri], "labels": LABELS})
    await caller.hostile(KIND, f"{entry.name}, in JSON", message, wanted=entry.statuses)


async def query(caller: Caller, world: World, number: int, entry: Hostile) -> None:
    """As what to look for."""
    parts = [_part(entry), Part("collection", GALLERY.encode())]
    message = post_form("/search", parts)
    await caller.hostile(KIND, f"{entry.name}, as query", message, wanted=entry.statuses)


async def among_good(caller: Caller, world: World, number: int, entry: Hostile) -> None:
    """Between two good pictures, whose vectors are right if there are any."""
    before, after = world.draw.sample(world.known, 2)
    parts = [part_of(before.picture), _part(entry), part_of(after.picture)]
    answer = await caller.hostile(
        KIND, f"{entry.name}, in a form", post_form("/embed", parts, OCTETS), wanted=entry.statuses
    )
    if answer.status == 200:
        found = rows(answer)
        caller.compare("before a hostile file", found[0], before.row)
        caller.compare("behind a hostile file", found[2], after.row)
    elif answer.json().get("item") != "input[1]":
        raise Wrong(f"{entry.name}: not named: {answer.words()}")


async def added(caller: Caller, world: World, number: int, entry: Hostile) -> None:
    """Between two good pictures of an add, which takes those two whatever the third one is."""
    good = world.draw.sample(world.pictures, 2)
    parts = [part_of(good[0]), _part(entry), part_of(good[1])]
    # The same ids again and again, so that there are no more images than files.
    items = items_part([{"id": "before"}, {"id": f"odd{number}"}, {"id": "behind"}])
    message = post_form(f"/collections/{ODD}/images?replace=true", [*parts, items])
    answer = await caller.hostile(KIND, f"{entry.name}, added", message, wanted={200})
    before, odd, behind = answer.json()["outcomes"]
    for outcome in (before, behind):
        if outcome["status"] == "failed":
            raise Wrong(f"beside {entry.name}: {json.dumps(outcome)}")
    status = 200 if odd["error"] is None else odd["error"]["status"]
    if status not in entry.statuses:
        raise Wrong(f"{entry.name}, added: must be one of {sorted(entry.statuses)}: {json.dumps(odd)}")


WAYS: tuple[Way, ...] = (raw, data_uri, query, among_good, added)


def _part(entry: Hostile) -> Part:
    return Part("image", entry.payload, "image/png")

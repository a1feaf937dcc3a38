"""Good requests to collections: search, add, get, change and delete, each checked against what it must be."""

from urllib.parse import urlencode

from benchmarks.serving.http_message import Part
from benchmarks.soak.caller import Caller, Failed
from benchmarks.soak.messages import get, items_part, plain, post_form, post_json
from benchmarks.soak.pool import Stored
from benchmarks.soak.vectors import part_of
from benchmarks.soak.world import CHANGING, GALLERY, World

K = 10
SAME_COSINE = 0.9999  # of a picture to itself, in the precision of collections
MOST_ADDED = 4
SIZES_PX = (64, 128, 256)


async def search_words(caller: Caller, world: World) -> None:
    """By words that nobody has asked for."""
    query = urlencode({"q": world.new_text(), "k": K, "collection": GALLERY})
    _hits((await caller.good("search, words", get(f"/search?{query}"))).json(), K)


async def search_picture(caller: Caller, world: World) -> None:
    """By a picture of the gallery, which must find itself."""
    picture = world.draw.choice(world.pictures)
    parts = [part_of(picture), Part("k", str(K).encode()), Part("collection", GALLERY.encode())]
    best = _hits((await caller.good("search, a picture", post_form("/search", parts))).json(), K)[0]
    if best["cosine"] < SAME_COSINE:
        raise Failed(f"search: {picture.id} finds {best['id']} first, with {best['cosine']}")


async def search_mix(caller: Caller, world: World) -> None:
    """By words and an image of the gallery, filtered."""
    query = [{"text": world.draw.choice(world.texts)}, {"id": world.draw.choice(world.pictures).id}]
    body = {"query": query, "k": K, "collection": GALLERY, "filter": {"style": {"exists": True}}}
    _hits((await caller.good("search, a mix", post_json("/search", body))).json(), K)


async def search_changing(caller: Caller, world: World) -> None:
    """In the collection that changes, an image that is there: it must find itself."""
    stored = world.pool.take()
    if stored is None:
        return
    body = {"query": {"id": stored.id}, "k": 1, "collection": CHANGING}
    best = _hits((await caller.good("search, an image", post_json("/search", body))).json(), 1)[0]
    if best["cosine"] < SAME_COSINE:
        raise Failed(f"search: {stored.id} finds {best['id']} first, with {best['cosine']}")
    world.pool.put(stored)


async def add(caller: Caller, world: World) -> None:
    """New images; when there are enough, as many old ones are deleted before."""
    n_images = world.draw.randint(1, MOST_ADDED)
    while len(world.pool) + n_images > world.pool.bound:
        await delete(caller, world)
    new = [Stored(world.pool.name(), world.new_picture()) for _ in range(n_images)]
    items = [{"id": stored.id, "metadata": {"number": i}} for i, stored in enumerate(new)]
    parts = [Part("image", stored.payload, "image/png") for stored in new]
    message = post_form(f"/collections/{CHANGING}/images", [*parts, items_part(items)])
    outcomes = (await caller.good("add", message)).json()["outcomes"]
    for stored, outcome in zip(new, outcomes, strict=True):
        if outcome["status"] != "created":
            raise Failed(f"add: {outcome}")
        world.pool.put(stored)


async def delete(caller: Caller, world: World) -> None:
    """The image that was put into the pool longest ago."""
    stored = world.pool.take()
    if stored is not None:
        await caller.good("delete", plain("DELETE", _image(stored)), 204)
        world.pool.bury(stored)


async def thumbnail(caller: Caller, world: World) -> None:
    """Of the gallery, mostly made before; or of an image that changes, made anew."""
    size = world.draw.choice(SIZES_PX)
    if world.draw.random() < 0.5:
        path = f"/collections/{GALLERY}/images/{world.draw.choice(world.pictures).id}"
        await caller.good("thumbnail", get(f"{path}/thumbnail?size={size}"))
        return
    stored = world.pool.take()
    if stored is not None:
        await caller.good("thumbnail", get(f"{_image(stored)}/thumbnail?size={size}"))
        world.pool.put(stored)


async def original(caller: Caller, world: World) -> None:
    """The bytes as they were added."""
    stored = world.pool.take()
    if stored is None:
        return
    answer = await caller.good("original", get(f"{_image(stored)}/original"))
    if answer.body != stored.payload:
        raise Failed(f"original: {len(answer.body)} bytes, other than those {len(stored.payload)} added")
    world.pool.put(stored)


async def patch(caller: Caller, world: World) -> None:
    """Metadata of an image."""
    stored = world.pool.take()
    if stored is None:
        return
    number = next(world.numbers)
    body = f'{{"metadata": {{"number": {number}}}}}'.encode()
    message = plain("PATCH", _image(stored), body, Content_Type="application/json")
    answer = (await caller.good("patch", message)).json()
    if answer["metadata"].get("number") != number:
        raise Failed(f"patch: {answer['metadata']} after {number}")
    world.pool.put(stored)


async def listing(caller: Caller, world: World) -> None:
    """A page of images, the collections, or one image."""
    one = world.draw.choice(world.pictures).id
    paths = (f"/collections/{GALLERY}/images?limit=50&after={one}", f"/collections/{GALLERY}/images/{one}")
    path = world.draw.choice((*paths, "/collections", f"/collections/{CHANGING}/images?limit=20", "/models"))
    await caller.good("list", get(path))


def _hits(answer: dict, n_hits: int) -> list[dict]:
    hits = answer["hits"]
    cosines = [hit["cosine"] for hit in hits]
    if len(hits) != n_hits or cosines != sorted(cosines, reverse=True):
        raise Failed(f"search: {len(hits)} hits for {n_hits}, cosines {cosines[:5]}")
    return hits


def _image(stored: Stored) -> str:
    return f"/collections/{CHANGING}/images/{stored.id}"

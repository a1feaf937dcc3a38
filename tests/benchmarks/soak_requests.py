"""What the clients of a soak ask: good requests, each checked against what it must be, and hostile ones.

A good request that is not answered as it must be raises Failed; a hostile one raises Wrong.
"""

import asyncio
import base64
import itertools
import json
import random
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray

from benchmarks.inputs import GALLERY as GALLERY_FOLDER
from benchmarks.inputs import captions, labels, photos
from benchmarks.load import (
    BOUNDARY,
    JSON,
    MULTIPART,
    OCTETS,
    Answer,
    Connection,
    NoAnswer,
    Part,
    form,
    post,
    post_form,
    post_json,
    request,
)
from diptych.core.limits import Limits
from diptych.wiring.version import CACHED_LABELS
from support.default_model import DEFAULT_MODEL
from support.hostile.corpus import corpus

GALLERY, CHANGING, ODD = "gallery", "soak", "soak-odd"
MIN_COSINE = 0.99999  # of a vector to the one that its item had alone
SAME_COSINE = 0.9999  # of a picture to itself
MAX_TRIES = 10  # of a request that is refused with 429
MAX_STORED, MAX_ADDED, K = 300, 4, 10
N_PHOTOS, N_TEXTS, N_KNOWN, N_KNOWN_TEXTS = 48, 400, 32, 16
N_PIECES, PIECE_EVERY_S = 20, 0.2
TRICKLE_BYTES, TRICKLE_EVERY_S = 1000, 1.0  # more than come before the server's time for a body is over

Vector = NDArray[np.float32]


class Failed(Exception):
    """A good request was not answered as it must be."""


class Wrong(Exception):
    """A hostile request was not answered as it must be."""


@dataclass
class World:
    """What all clients share. `pool`: images that were added and acknowledged; who takes one has it alone."""

    draw: random.Random = field(default_factory=lambda: random.Random(0))
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    pictures: dict[str, bytes] = field(default_factory=dict)  # of the gallery, by id
    photos: list[bytes] = field(default_factory=lambda: photos(N_PHOTOS))
    texts: list[str] = field(default_factory=lambda: captions(N_TEXTS))
    known_labels: list[list[str]] = field(
        default_factory=lambda: [labels(n, seed) for seed, n in enumerate((4, 20, 100, 1000))]
    )
    known: list[tuple[Part, Vector]] = field(default_factory=list)
    known_texts: list[tuple[str, Vector]] = field(default_factory=list)
    pool: deque[tuple[str, bytes]] = field(default_factory=deque)
    deleted: set[str] = field(default_factory=set)
    lowest_cosine: float = 1.0

    def picture(self) -> Part:
        """One of the gallery."""
        content = self.draw.choice(list(self.pictures.values()))
        return Part("image", content, "image/png" if content.startswith(b"\x89PNG") else "image/jpeg")

    def new_picture(self) -> bytes:
        """A file that nobody has sent, and that differs from one of the gallery in nothing but its bytes."""
        return self.picture().data + str(next(self.numbers)).encode()

    def new_text(self) -> str:
        return f"{self.draw.choice(self.texts)} {next(self.numbers)}"


@dataclass
class Caller:
    """One client: a connection, and the last status that it saw."""

    port: int
    world: World
    status: str = ""

    def __post_init__(self) -> None:
        self.connection = Connection(self.port)

    async def good(self, message: bytes, wanted: int = 200) -> Answer:
        """The answer; what is refused with 429 is asked again when the server says. Raises Failed."""
        try:
            answer = await self._tried(self.connection, message)
        except NoAnswer as error:
            self.status = "no answer"
            raise Failed(str(error)) from error
        if answer.status != wanted:
            raise Failed(answer.words())
        return answer

    async def hostile(self, *pieces: bytes, wanted: Collection[int], pause_s: float = 0.0) -> Answer:
        """The answer, on a connection of its own, which the server may close. Raises Wrong."""
        connection = Connection(self.port)
        try:
            answer = await self._tried(connection, *pieces, pause_s=pause_s)
        except NoAnswer as error:
            self.status = "no answer"
            raise Wrong(str(error)) from error
        finally:
            connection.close()
        if answer.status not in wanted:
            raise Wrong(f"must be one of {sorted(wanted)}: {answer.words()}")
        return answer

    def compare(self, row: Vector, alone: Vector) -> None:
        """Raises Failed where the vector of an item differs from the one that it had alone."""
        cosine = float(row @ alone / np.sqrt((row @ row) * (alone @ alone)))
        self.world.lowest_cosine = min(self.world.lowest_cosine, cosine)
        if not cosine >= MIN_COSINE:  # NaN too
            raise Failed(f"cosine {cosine} to the vector alone")

    async def _tried(self, connection: Connection, *pieces: bytes, pause_s: float = 0.0) -> Answer:
        for _ in range(MAX_TRIES):
            answer = await connection.ask(*pieces, pause_s=pause_s)
            self.status = str(answer.status)
            if answer.status != 429:
                break
            await asyncio.sleep(float(answer.headers["retry-after"]))
        return answer


Turn = Callable[[Caller], Awaitable[None]]


def vectors(answer: Answer) -> Vector:
    """The rows (N, D) of an answer in raw float32."""
    n_rows, dim = map(int, answer.headers["x-diptych-shape"].split(","))
    return np.frombuffer(answer.body, "<f4").reshape(n_rows, dim)


async def prepare(caller: Caller) -> None:
    """Make the collections, and embed some pictures and texts alone: the truth for all others."""
    world = caller.world
    corpus()  # takes seconds, in which nothing else runs
    for line in (GALLERY_FOLDER / "items.jsonl").read_text(encoding="utf-8").splitlines():
        item = json.loads(line)
        world.pictures[item["id"]] = (GALLERY_FOLDER / item["file"]).read_bytes()
    for name in (CHANGING, ODD):
        await caller.good(post_json("/collections", {"name": name}), 201)
    fixed = [Part("image", photo, "image/jpeg") for photo in world.photos[: N_KNOWN // 4]]
    fixed += [world.picture() for _ in range(N_KNOWN - len(fixed))]
    for part in fixed:
        answer = await caller.good(post("/embed", part.data, part.media_type or "", OCTETS))
        world.known.append((part, vectors(answer)[0]))
    for text in world.texts[:N_KNOWN_TEXTS]:
        answer = await caller.good(post_json("/embed", {"input": [{"text": text}]}, OCTETS))
        world.known_texts.append((text, vectors(answer)[0]))
    await fill_label_cache(caller)


async def fill_label_cache(caller: Caller) -> None:
    """Ask for as many labels as are cached: a cache that fills up during the load would look like a leak."""
    for seed in range(-CACHED_LABELS // Limits().max_labels, 0):
        named = json.dumps(labels(Limits().max_labels, seed)).encode()
        parts = [Part("labels", named), Part("template", b"{}"), Part("top_k", b"1")]
        await caller.good(post_form("/classify", [caller.world.picture(), *parts]))


async def embed_one(caller: Caller) -> None:
    part, row = caller.world.draw.choice(caller.world.known)
    answer = await caller.good(post("/embed", part.data, part.media_type or "", OCTETS))
    caller.compare(vectors(answer)[0], row)


async def embed_form(caller: Caller) -> None:
    """Known pictures between others, and a text."""
    known = caller.world.draw.sample(caller.world.known, 4)
    parts = [part for one, _ in known for part in (one, caller.world.picture())]
    parts.append(Part("text", caller.world.new_text().encode()))
    found = vectors(await caller.good(post_form("/embed", parts, OCTETS)))
    for index, (_, row) in enumerate(known):
        caller.compare(found[2 * index], row)


async def embed_texts(caller: Caller) -> None:
    """Known texts between new ones, in our own shape or in OpenAI's."""
    known = caller.world.draw.sample(caller.world.known_texts, 4)
    texts = [text for one, _ in known for text in (one, caller.world.new_text())]
    if caller.world.draw.random() < 0.5:
        message = post_json("/embed", {"input": [{"text": text} for text in texts]}, OCTETS)
        found = vectors(await caller.good(message))
    else:
        body = {"model": DEFAULT_MODEL, "input": texts, "encoding_format": "base64"}
        data = (await caller.good(post_json("/v1/embeddings", body))).json()["data"]
        found = np.stack([np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in data])
    for index, (_, row) in enumerate(known):
        caller.compare(found[2 * index], row)


async def classify(caller: Caller) -> None:
    """Labels that were asked for before, or labels that nobody has asked for."""
    world = caller.world
    is_new = world.draw.random() < 0.25
    named = (
        labels(world.draw.randint(4, 40), 1000 + next(world.numbers))
        if is_new
        else world.draw.choice(world.known_labels)
    )
    answer = await caller.good(
        post_form("/classify", [world.picture(), Part("labels", json.dumps(named).encode())])
    )
    (found,) = answer.json()["data"]
    scores = [one["score"] for one in found["predictions"]]
    if {one["label"] for one in found["predictions"]} != set(named) or scores != sorted(scores, reverse=True):
        raise Failed(f"{len(scores)} predictions for {len(named)} labels, scores {scores[:5]}")


async def search_words(caller: Caller) -> None:
    query = urlencode({"q": caller.world.new_text(), "k": K, "collection": GALLERY})
    _hits(await caller.good(request("GET", f"/search?{query}")))


async def search_picture(caller: Caller) -> None:
    """A picture of the gallery must find itself."""
    parts = [caller.world.picture(), Part("k", str(K).encode()), Part("collection", GALLERY.encode())]
    best = _hits(await caller.good(post_form("/search", parts)))[0]
    if best["cosine"] < SAME_COSINE:
        raise Failed(f"{best['id']} comes first, with {best['cosine']}")


async def add(caller: Caller) -> None:
    """New images; when there are enough, the oldest are deleted first."""
    world = caller.world
    while len(world.pool) > MAX_STORED:
        await delete(caller)
    new = [(f"s{next(world.numbers)}", world.new_picture()) for _ in range(world.draw.randint(1, MAX_ADDED))]
    parts = [Part("image", payload, "image/png") for _, payload in new]
    parts.append(Part("items", json.dumps([{"id": id} for id, _ in new]).encode()))
    answer = (await caller.good(post_form(f"/collections/{CHANGING}/images", parts))).json()
    if any(outcome["status"] != "created" for outcome in answer["outcomes"]):
        raise Failed(json.dumps(answer["outcomes"])[:300])
    world.pool.extend(new)


async def delete(caller: Caller) -> None:
    """An image whose deletion failed is in nobody's hands: it may be there or not."""
    if caller.world.pool:
        id, _ = caller.world.pool.popleft()
        await caller.good(request("DELETE", f"/collections/{CHANGING}/images/{id}"), 204)
        caller.world.deleted.add(id)


async def use_stored(caller: Caller) -> None:
    """An image that was added: find it, get its bytes and a thumbnail, change its metadata."""
    world = caller.world
    if not world.pool:
        return
    id, payload = world.pool.popleft()
    path = f"/collections/{CHANGING}/images/{id}"
    parts = [Part("image", payload, "image/png"), Part("k", b"1"), Part("collection", CHANGING.encode())]
    (best,) = _hits(await caller.good(post_form("/search", parts)), 1)  # by its id it does not find itself
    if best["cosine"] < SAME_COSINE:
        raise Failed(f"{id} finds {best['id']} first, with {best['cosine']}")
    if (await caller.good(request("GET", f"{path}/original"))).body != payload:
        raise Failed(f"{id}: other bytes than those that were added")
    await caller.good(request("GET", f"{path}/thumbnail?size={world.draw.choice((64, 128, 256))}"))
    number = next(world.numbers)
    changed = json.dumps({"metadata": {"number": number}}).encode()
    answer = await caller.good(request("PATCH", path, changed, Content_Type=JSON))
    if answer.json()["metadata"].get("number") != number:
        raise Failed(f"metadata {answer.json()['metadata']} after {number}")
    world.pool.append((id, payload))


async def listing(caller: Caller) -> None:
    id = caller.world.draw.choice(list(caller.world.pictures))
    paths = (f"/collections/{GALLERY}/images?limit=50&after={id}", "/collections", "/models")
    await caller.good(request("GET", caller.world.draw.choice(paths)))


def _hits(answer: Answer, n_hits: int = K) -> list[dict[str, Any]]:
    hits: list[dict[str, Any]] = answer.json()["hits"]
    cosines = [hit["cosine"] for hit in hits]
    if len(hits) != n_hits or cosines != sorted(cosines, reverse=True):
        raise Failed(f"{len(hits)} hits for {n_hits}, cosines {cosines[:5]}")
    return hits


# How often each comes, of 100.
GOOD: dict[Turn, int] = {
    embed_one: 23, embed_form: 6, embed_texts: 14, classify: 13, search_words: 9, search_picture: 8, add: 7,
    delete: 4, use_stored: 12, listing: 4,
}  # fmt: skip


def hostile_turns(world: World) -> Iterator[Turn]:
    """For ever: files of the corpus, broken requests, callers that hang up or dawdle."""
    files, requests = list(corpus()), list(broken_requests(next(iter(world.pictures.values()))))
    while True:
        kind = world.draw.choices(("file", "request", "leave", "dawdle"), (66, 22, 9, 3))[0]
        if kind == "file":
            yield _sends_file(world.draw.choice(files))
        elif kind == "request":
            yield _sends(*world.draw.choice(requests))
        else:
            yield leave if kind == "leave" else dawdle


def _sends_file(entry: Any) -> Turn:
    """A file of the corpus: alone, between two good pictures, or added between two."""

    async def broken_file(caller: Caller) -> None:
        world = caller.world
        odd = Part("image", entry.payload, "image/png")
        way = world.draw.choice(("alone", "among", "added"))
        if way == "alone":
            await caller.hostile(post("/embed", odd.data, "image/png", OCTETS), wanted=entry.statuses)
            return
        (before, row), (after, other) = world.draw.sample(world.known, 2)
        if way == "among":
            answer = await caller.hostile(
                post_form("/embed", [before, odd, after], OCTETS), wanted=entry.statuses
            )
            if answer.status == 200:
                caller.compare(vectors(answer)[0], row)
                caller.compare(vectors(answer)[2], other)
            return
        message = post_form(f"/collections/{ODD}/images?replace=true", [before, odd, after])
        outcomes = (await caller.hostile(message, wanted={200})).json()["outcomes"]
        status = 200 if outcomes[1]["error"] is None else outcomes[1]["error"]["status"]
        if (
            outcomes[0]["status"] == "failed"
            or outcomes[2]["status"] == "failed"
            or status not in entry.statuses
        ):
            raise Wrong(f"{entry.name}, added between good ones: {json.dumps(outcomes)[:300]}")

    return broken_file


def _sends(name: str, message: bytes, wanted: Collection[int]) -> Turn:
    async def broken_request(caller: Caller) -> None:
        try:
            await caller.hostile(message, wanted=wanted)
        except Wrong as error:
            raise Wrong(f"{name}: {error}") from error

    return broken_request


async def leave(caller: Caller) -> None:
    """Hang up in the middle of a head, of a body, or before the answer."""
    pictures = [caller.world.picture() for _ in range(16)]
    whole = caller.world.draw.choice(
        (post_form("/embed", pictures), post_form(f"/collections/{ODD}/images?replace=true", pictures[:2]))
    )
    n_sent = caller.world.draw.choice((40, len(whole) // 2, len(whole)))
    connection = Connection(caller.port)
    try:
        await connection.send(whole[:n_sent])
        await asyncio.sleep(caller.world.draw.uniform(0, 0.2))
    except OSError as error:
        raise Wrong(str(error)) from error
    finally:
        connection.close()
    caller.status = "gone"


async def dawdle(caller: Caller) -> None:
    """Send a body in pieces, which is as good as any, or a byte now and then until the server refuses."""
    if caller.world.draw.random() < 0.5:
        part, row = caller.world.draw.choice(caller.world.known)
        message = post("/embed", part.data, part.media_type or "", OCTETS)
        size = -(-len(message) // N_PIECES)
        pieces = [message[start : start + size] for start in range(0, len(message), size)]
        answer = await caller.hostile(*pieces, wanted={200}, pause_s=PIECE_EVERY_S)
        caller.compare(vectors(answer)[0], row)
        return
    head = request("POST", "/embed", Content_Type="image/png", Content_Length=str(TRICKLE_BYTES))
    await caller.hostile(head, *[b"x"] * (TRICKLE_BYTES - 1), wanted={408}, pause_s=TRICKLE_EVERY_S)


def broken_requests(good: bytes) -> Iterator[tuple[str, bytes, Collection[int]]]:
    """Requests that are wrong in themselves, and the statuses that are right for each."""
    image, form_type = Part("image", good, "image/png"), {"Content_Type": MULTIPART}
    whole, images = form([image]), f"/collections/{ODD}/images"
    nested: dict[str, Any] = {"style": "a"}
    for _ in range(100):
        nested = {"not": nested}
    yield "no HTTP", b"\x16\x03\x01\x02\x00\x01\x00" + bytes(100) + b"\r\n\r\n", {400}
    yield "a length that is no number", request("POST", "/embed", Content_Length="many"), {400}
    yield "two lengths", request("POST", "/embed", b"1234", Content_Length="9"), {400}
    yield "10 GB", request("POST", "/embed", Content_Type="image/png", Content_Length="9" * 10), {413}
    chunked = request("POST", "/embed", Content_Type=JSON, Transfer_Encoding="chunked") + b"zz\r\nhello\r\n"
    yield "a chunk whose size is no number", chunked, {400}
    yield "a header of 200 kB", request("GET", "/version", X_Long="x" * 200_000), {200, 400, 431}
    yield "a path of 60 kB", request("GET", "/" + "a" * 60_000), {400, 404, 414}
    yield "a path out of the folder", request("GET", "/assets/..%2f..%2f..%2fetc/passwd"), {404}
    yield "another method", request("DELETE", "/embed"), {405}
    yield "another host", b"GET /models HTTP/1.1\r\nHost: evil.example\r\n\r\n", {403}
    yield "another origin", request("POST", "/embed", b"x", Origin="https://evil.example"), {403}
    yield (
        "a compressed body",
        request("POST", "/embed", b"x", Content_Type=JSON, Content_Encoding="gzip"),
        {415},
    )
    for body in (b'{"input": [{"text": "a', b"", b"input=cat", b'{"input": ' + b"[" * 100_000):
        yield f"JSON {body[:20]!r}", request("POST", "/embed", body, Content_Type=JSON), {400}
    for value in ("data:image/png;base64,%%%%", "http://169.254.169.254/latest", "file:///etc/passwd"):
        yield value, post_json("/embed", {"input": [{"image": value}]}), {400, 415, 422}
    yield "300 items", post_json("/embed", {"input": [{"text": "cat"}] * 300}), {413}
    yield "20,000 characters", post_json("/embed", {"input": [{"text": "x" * 20_000}]}), {413}
    yield "no boundary", request("POST", "/embed", whole, Content_Type="multipart/form-data"), {400}
    yield "a form cut short", request("POST", "/embed", whole[: len(whole) // 2], **form_type), {400}
    nameless = f"--{BOUNDARY}\r\nContent-Disposition: form-data\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode()
    yield "a part without a name", request("POST", "/embed", nameless, **form_type), {400}
    yield "an unknown field", post_form("/embed", [Part("picture", good, "image/png")]), {422}
    yield "text that is not UTF-8", post_form("/embed", [Part("text", b"\xff\xfe\xfa")]), {400}
    yield "no labels", post_form("/classify", [image]), {422}
    twice = [image, Part("labels", b"cat"), Part("labels", b"cat")]
    yield "labels twice the same", post_form("/classify", twice), {422}
    many = json.dumps([str(number) for number in range(20_000)]).encode()
    yield "20,000 labels", post_form("/classify", [image, Part("labels", many)]), {413}
    yield "a million hits", request("GET", "/search?q=cat&k=1000000"), {422}
    yield "an unknown collection", request("GET", "/search?q=cat&collection=nowhere"), {404}
    yield "a filter 100 deep", post_json("/search", {"query": {"text": "cat"}, "filter": nested}), {422}
    yield "another model", post_json("/v1/embeddings", {"model": "gpt", "input": "cat"}), {404}
    yield "an id out of the folder", post_form(images, [image, Part("items", b'[{"id": "../../x"}]')]), {422}
    yield (
        "ids of other images",
        post_form(images, [image, Part("items", b'[{"id": "a"}, {"id": "b"}]')]),
        {422},
    )
    yield "an unknown thumbnail", request("GET", f"{images}/nobody/thumbnail"), {404}
    yield "a collection that is there", post_json("/collections", {"name": GALLERY}), {409}

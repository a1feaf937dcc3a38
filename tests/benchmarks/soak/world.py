"""What the clients know: pictures, texts and labels, and the vectors that some of them had alone."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.serving.http_message import OCTETS
from benchmarks.serving.photos import photos
from benchmarks.serving.places import REPOSITORY
from benchmarks.serving.texts import captions, labels
from benchmarks.soak.caller import Caller, Row
from benchmarks.soak.connection import Answer
from benchmarks.soak.messages import get, post_json, post_picture
from benchmarks.soak.pool import Pool

GALLERY = "gallery"
CHANGING, ODD, ABANDONED = "soak", "soak-odd", "soak-abandoned"
GALLERY_FOLDER = REPOSITORY / "server" / "gallery"
N_PHOTOS, N_TEXTS, MAX_CHARS = 48, 400, 80
N_FIXED_PICTURES, N_FIXED_PHOTOS, N_FIXED_TEXTS = 24, 8, 16
KNOWN_LISTS = (4, 20, 100, 1000)  # labels in each
MOST_STORED = 300

Rows = NDArray[np.float32]  # (N, D)


@dataclass(frozen=True)
class Picture:
    """One image file. `id` is its name in the gallery, empty for what is not in there."""

    payload: bytes
    media_type: str
    id: str = ""


@dataclass(frozen=True)
class Known:
    """A picture and the vector it had when it was embedded alone."""

    picture: Picture
    row: Row


@dataclass
class World:
    """All clients share one."""

    pictures: list[Picture]
    photos: list[Picture]
    texts: list[str]
    draw: random.Random
    known: list[Known] = field(default_factory=list)
    known_texts: list[tuple[str, Row]] = field(default_factory=list)
    known_labels: list[list[str]] = field(
        default_factory=lambda: [labels(n, seed) for seed, n in enumerate(KNOWN_LISTS)]
    )
    pool: Pool = field(default_factory=lambda: Pool(MOST_STORED))
    numbers: Iterator[int] = field(default_factory=lambda: count(1000))

    def new_labels(self) -> list[str]:
        """Labels that nobody has asked for."""
        return labels(self.draw.randint(4, 40), next(self.numbers))

    def new_text(self) -> str:
        return f"{self.draw.choice(self.texts)} {next(self.numbers)}"

    def new_picture(self) -> bytes:
        """A file that differs from all others in its bytes, and from one of the gallery in nothing else."""
        return self.draw.choice(self.pictures).payload + str(next(self.numbers)).encode()


def made(seed: int = 0) -> World:
    """Without the vectors, for which a server is needed."""
    draw = random.Random(seed)
    pictures = [
        Picture(Path(GALLERY_FOLDER, item["file"]).read_bytes(), "image/png", item["id"])
        for item in map(json.loads, (GALLERY_FOLDER / "items.jsonl").read_text().splitlines())
    ]
    jpegs = [Picture(payload, "image/jpeg") for payload in photos(n_photos=N_PHOTOS)]
    return World(pictures, jpegs, captions(len, MAX_CHARS, N_TEXTS), draw)


async def embed_alone(world: World, caller: Caller) -> None:
    """The vectors of fixed pictures, photographs and texts, one after the other."""
    fixed = world.draw.sample(world.pictures, N_FIXED_PICTURES) + world.photos[:N_FIXED_PHOTOS]
    for picture in fixed:
        message = post_picture("/embed", picture.payload, picture.media_type)
        world.known.append(Known(picture, rows(await caller.good("alone", message))[0]))
    for text in world.texts[:N_FIXED_TEXTS]:
        message = post_json("/embed", {"input": [{"text": text}]}, OCTETS)
        world.known_texts.append((text, rows(await caller.good("alone", message))[0]))


async def make_collections(caller: Caller) -> None:
    """Those that change; the gallery is the server's own."""
    for name in (CHANGING, ODD, ABANDONED):
        await caller.good("collection", post_json("/collections", {"name": name}), 201)


async def stored_ids(caller: Caller) -> set[str]:
    """Of all images in the collection that changes."""
    found: set[str] = set()
    after = ""
    while True:
        path = f"/collections/{CHANGING}/images?limit=1000" + (f"&after={after}" if after else "")
        page = (await caller.good("list", get(path))).json()
        found |= {image["id"] for image in page["images"]}
        if page["next"] is None:
            return found
        after = page["next"]


async def n_in_gallery(caller: Caller) -> int:
    """How many images of the gallery are searchable by now; 0 before it is there."""
    listed = (await caller.good("collections", get("/collections"))).json()["collections"]
    return next((one["n_images"] for one in listed if one["name"] == GALLERY), 0)


def rows(answer: Answer) -> Rows:
    """The rows (N, D) of an answer in raw float32."""
    n_rows, dim = map(int, answer.headers["x-diptych-shape"].split(","))
    return np.frombuffer(answer.body, "<f4").reshape(n_rows, dim)

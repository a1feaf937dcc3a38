"""Clients that use a server while its versions change, and check each answer against the version it names."""

import base64
import json
import random
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import httpx
import numpy as np

from support.pictures import picture
from support.tiny_graphs import COLOURS
from support.version_vectors import VersionVectors

N_PICTURES = 200
ALL = 1000  # hits: more than there are images
MOST_IMAGES = 160  # of all clients
ANSWERED_WITHIN_S = 300  # nothing is measured: the machine may be busy
TOLERANCE = 2e-5
WORDS = (*COLOURS, "a picture of something red.", "green and blue", "nothing")
C = "default"


@cache
def numbered_picture(n: int) -> bytes:
    """A picture that differs from those of other numbers."""
    rng = np.random.default_rng(n)
    red, green, blue = (int(value) for value in rng.integers(0, 256, 3))
    return picture((red, green, blue), (8, 8))


@dataclass
class Images:
    """What the server has acknowledged of one collection.

    `pictures` has all pictures that an id has had, and `since` the first of them that may still be found.
    """

    pictures: dict[str, list[int]] = field(default_factory=dict)
    since: dict[str, int] = field(default_factory=dict)  # the ids that searches must find
    lock: threading.Lock = field(default_factory=threading.Lock)

    def required(self) -> dict[str, int]:
        """The ids that a search must find which begins now, each with the first picture that it may have."""
        with self.lock:
            return dict(self.since)

    def begin(self, id: str, n: int) -> None:
        """A picture was sent."""
        with self.lock:
            self.pictures.setdefault(id, []).append(n)

    def acknowledge(self, id: str) -> None:
        """The picture that was sent last is stored."""
        with self.lock:
            self.since[id] = len(self.pictures[id]) - 1

    def begin_deletion(self, id: str) -> None:
        """It may be found or not from now on."""
        with self.lock:
            del self.since[id]

    def possible(self, id: str, since: int) -> list[int]:
        """The pictures that an answer may mean, if `since` was the first when it was asked for."""
        with self.lock:
            return self.pictures[id][since:]


@dataclass
class Counts:
    """How many requests of each kind were answered, by the version that the answer names."""

    by_kind: Counter[tuple[str, int]] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, kind: str, version: int) -> None:
        """Count one answer."""
        with self.lock:
            self.by_kind[kind, version] += 1

    @property
    def n(self) -> int:
        """All answers."""
        with self.lock:
            return self.by_kind.total()


class RollingClient:
    """One client. Every answer must be a success, and agree with the version that it names."""

    def __init__(
        self,
        url: str,
        name: str,
        versions: Mapping[int, VersionVectors],
        images: Images,
        counts: Counts,
        most_own: int,
    ) -> None:
        """`most_own`: more images than that of its own are not kept."""
        self._http = httpx.Client(base_url=url, timeout=ANSWERED_WITHIN_S)
        self._most_own = most_own
        self._name = name
        self._versions = versions
        self._images = images
        self._counts = counts
        self._random = random.Random(name)
        self._own: list[str] = []
        self._n_added = 0

    def run(self, stop: threading.Event) -> None:
        """Send one request after the other."""
        actions = [self.embed, self.classify, self.search_words, self.search_id, self.search_picture]
        with self._http:
            while not stop.is_set():
                self._random.choice([*actions, self.write])()

    def embed(self) -> None:
        """Embed pictures and texts; every row is of the version that is named."""
        items = [self._random.choice([{"text": self._word()}, {"n": self._number()}]) for _ in range(3)]
        asked = [{"image": _uri(item["n"])} if "n" in item else item for item in items]
        version, answer = self._answer("embed", "/embed", {"input": asked, "encoding_format": "base64"})
        for item, row in zip(items, answer["data"], strict=True):
            found = np.frombuffer(base64.b64decode(row["embedding"]), "<f4")
            wanted = version.image(numbered_picture(item["n"])) if "n" in item else version.text(item["text"])
            assert np.abs(found - wanted).max() < TOLERANCE, (item, answer["model"])

    def classify(self) -> None:
        """Classify a picture; images and labels are of the version that is named."""
        n, labels = self._number(), self._random.sample(WORDS, 3)
        body = {"images": [_uri(n)], "labels": labels, "template": "{}"}
        version, answer = self._answer("classify", "/classify", body)
        image = version.image(numbered_picture(n))
        for prediction in answer["data"][0]["predictions"]:
            wanted = float(image @ version.text(prediction["label"]))
            assert abs(prediction["cosine"] - wanted) < TOLERANCE, (prediction, wanted, answer["model"])

    def search_words(self) -> None:
        """Search by words."""
        text = self._word()
        self._search({"text": text}, lambda version: [version.text(text)])

    def search_picture(self) -> None:
        """Search by a picture that is sent."""
        n = self._number()
        self._search({"image": _uri(n)}, lambda version: [version.image(numbered_picture(n))])

    def search_id(self) -> None:
        """Search by an image of the collection that this client has added."""
        if not self._own:
            return
        id = self._random.choice(self._own)
        n = self._images.pictures[id][-1]
        self._search({"id": id}, lambda version: [version.image(numbered_picture(n))])

    def write(self) -> None:
        """Add images, or replace or delete one."""
        choice = self._random.random()
        if len(self._own) >= self._most_own or (self._own and choice < 0.15):
            self._delete(self._own.pop(self._random.randrange(len(self._own))))
        elif self._own and choice < 0.4:
            self._add([self._random.choice(self._own)], replace=True)
        else:
            fresh = [f"{self._name}-{self._n_added + i}" for i in range(self._random.randint(1, 3))]
            self._n_added += len(fresh)
            self._add(fresh, replace=False)
            self._own += fresh

    def _add(self, ids: Sequence[str], *, replace: bool) -> None:
        numbers = [self._number() for _ in ids]
        for id, n in zip(ids, numbers, strict=True):
            self._images.begin(id, n)
        files: list[Any] = [("image", ("x", numbered_picture(n))) for n in numbers]
        files.append(("items", (None, json.dumps([{"id": id} for id in ids]))))
        path = f"/collections/{C}/images"
        answer = self._http.post(path, files=files, params={"replace": str(replace).lower()})
        assert answer.status_code == 200, answer.text
        told = answer.json()
        statuses = {outcome["status"] for outcome in told["outcomes"]}
        assert statuses <= ({"replaced", "unchanged"} if replace else {"created"}), told
        self._counts.add("add", told["model"]["version"])
        for id in ids:
            self._images.acknowledge(id)

    def _delete(self, id: str) -> None:
        self._images.begin_deletion(id)
        answer = self._http.delete(f"/collections/{C}/images/{id}")
        assert answer.status_code == 204, answer.text

    def _search(self, query: Any, queries_of: Any) -> None:
        required = self._images.required()
        required.pop(query.get("id"), None)  # an image is no hit of its own search
        version, answer = self._answer("search", "/search", {"query": query, "k": ALL, "collection": C})
        hits = {hit["id"]: hit["cosine"] for hit in answer["hits"]}
        assert required.keys() <= hits.keys() | self._deleted_since(required), (
            query, sorted(required.keys() - hits.keys()), answer["model"],
        )  # fmt: skip
        (row,) = queries_of(version)
        for id, cosine in hits.items():
            possible = [
                float(row @ version.image(numbered_picture(n)))
                for n in self._images.possible(id, required.get(id, 0))
            ]
            nearest = min(abs(cosine - one) for one in possible)
            assert nearest < TOLERANCE, (query, id, cosine, possible, answer["model"])

    def _deleted_since(self, required: Mapping[str, int]) -> set[str]:
        return required.keys() - self._images.required().keys()

    def _answer(self, kind: str, path: str, body: Any) -> tuple[VersionVectors, Any]:
        answer = self._http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        told = answer.json()
        version = told["model"]["version"]
        self._counts.add(kind, version)
        return self._versions[version], told

    def _word(self) -> str:
        return self._random.choice(WORDS)

    def _number(self) -> int:
        return self._random.randrange(N_PICTURES)


class RollingClients:
    """Many clients, each in a thread, which take turns to choose among the servers at `urls`."""

    def __init__(self, urls: Sequence[str], n: int, versions: Mapping[int, VersionVectors]) -> None:
        self.images, self.counts = Images(), Counts()
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(n)
        clients = [
            RollingClient(
                urls[number % len(urls)],
                f"c{number}",
                versions,
                self.images,
                self.counts,
                MOST_IMAGES // n,
            )
            for number in range(n)
        ]
        self._running = [self._pool.submit(client.run, self._stop) for client in clients]

    def check(self) -> None:
        """Raise the error of a client that has failed."""
        for one in self._running:
            if one.done():
                one.result()

    def end(self) -> None:
        """Wait for all clients; raise the first error."""
        self._stop.set()
        self._pool.shutdown()
        for one in self._running:
            one.result()


def _uri(n: int) -> str:
    return f"data:image/png;base64,{base64.b64encode(numbered_picture(n)).decode()}"

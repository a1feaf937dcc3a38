"""Clients that add, replace, patch, delete and drop until the server is gone; knows nothing of kills."""

import itertools
import json
import random
import threading
from collections.abc import Callable
from typing import Any

import httpx

from durability.journal import Images, Journal, Kept
from integration.store_parts import tiny_png

N_PICTURES = 300  # few enough that collections share files
MOST_IMAGES = 24  # in one collection: above it, delete rather than add


class Writer:
    """The only one to write to its collection."""

    def __init__(self, url: str, collection: str, journal: Journal, seed: str) -> None:
        self._collection = collection
        self._journal = journal
        self._random = random.Random(seed)
        self._http = httpx.Client(base_url=url, timeout=30, verify=False)
        self._numbers = itertools.count()
        self._marker = seed

    def run(self, stop: threading.Event) -> None:
        """One request after another until `stop`, or until the server has gone."""
        with self._http:
            try:
                while not stop.is_set():
                    self._step()
            except httpx.TransportError:
                return

    def _step(self) -> None:
        images = self._journal.acknowledged.get(self._collection)
        if images is None:
            self._ask({}, "POST", "/collections", json={"name": self._collection})
            return
        actions: list[Callable[[Images], None]] = [self._add, self._add]
        if images:
            actions += [self._replace, self._replace, self._patch, self._delete]
        if len(images) > MOST_IMAGES:
            actions = [self._delete, self._drop]
        self._random.choice(actions)(images)

    def _add(self, images: Images) -> None:
        fresh = {
            f"{self._marker}-{next(self._numbers)}": self._kept() for _ in range(self._random.randint(1, 5))
        }
        self._send(dict(images) | fresh, fresh)

    def _replace(self, images: Images) -> None:
        ids = self._random.sample(sorted(images), min(len(images), self._random.randint(1, 3)))
        others = {id: self._kept() for id in ids}
        self._send(dict(images) | others, others, replace="true")

    def _patch(self, images: Images) -> None:
        id = self._random.choice(sorted(images))
        change = {"patched": self._random.random()}
        after = dict(images) | {id: Kept(images[id].payload, images[id].metadata | change)}
        self._ask(after, "PATCH", self._image(id), json={"metadata": change})

    def _delete(self, images: Images) -> None:
        id = self._random.choice(sorted(images))
        after = {other: kept for other, kept in images.items() if other != id}
        self._ask(after, "DELETE", self._image(id))

    def _drop(self, images: Images) -> None:
        self._ask(None, "DELETE", f"/collections/{self._collection}")

    def _send(self, after: Images, items: Images, **parameters: str) -> None:
        files = [("image", (id, kept.payload, "image/png")) for id, kept in items.items()]
        told = [{"id": id, "metadata": kept.metadata} for id, kept in items.items()]
        path = f"/collections/{self._collection}/images"
        answer = self._ask(
            after, "POST", path, files=files, data={"items": json.dumps(told)}, params=parameters
        )
        statuses = {outcome["status"] for outcome in answer.json()["outcomes"]}
        assert statuses <= {"created", "replaced", "unchanged"}, answer.text

    def _ask(self, after: Images | None, method: str, path: str, **body: Any) -> httpx.Response:
        self._journal.begin(self._collection, after)
        answer = self._http.request(method, path, **body)
        assert answer.is_success, answer.text
        self._journal.acknowledge(self._collection)
        return answer

    def _image(self, id: str) -> str:
        return f"/collections/{self._collection}/images/{id}"

    def _kept(self) -> Kept:
        n = self._random.randrange(N_PICTURES)
        return Kept(tiny_png(n), {"n": n, "mark": self._random.random()})


class Load:
    """Several writers at once, each in a thread."""

    def __init__(self, url: str, journal: Journal, collections: list[str], seed: str) -> None:
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(Writer(url, name, journal, f"{seed}-{name}"),))
            for name in collections
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Wait for all. Raises what one of them met that was not the end of the server."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._failures:
            raise self._failures[0]

    def _run(self, writer: Writer) -> None:
        try:
            writer.run(self._stop)
        except BaseException as failure:  # handed to the test by `end`
            self._failures.append(failure)

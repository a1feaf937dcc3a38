"""Clients that send every kind of write until the server has ended."""

import itertools
import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import httpx
import numpy as np

from durability.journal import Held, Images, Journal, Kept
from integration.store_parts import tiny_png
from support.tars import tar_of
from support.tiny_bundle import EMBED_DIM, TINY

N_PICTURES = 300  # few enough that collections share files
MOST_IMAGES = 24  # in one collection: above it, delete rather than add
MOST_OF_A_JOB = 24  # images; a job adds 16 at a time
MODEL = {"name": TINY, "version": 1}  # what made the vectors, they say
JOB_ENDS_WITHIN_S = 30
PRECISIONS = ("fp32", "int8")  # between which the server moves, with the collections that can


def names_of(writer: str) -> tuple[str, str]:
    """Return the two names between which the writer renames its collection."""
    return writer, f"{writer}-renamed"


class Writer:
    """A client that is the only one to write to its collection."""

    def __init__(self, url: str, collection: str, journal: Journal, seed: str) -> None:
        self._collection = collection
        self._journal = journal
        self._random = random.Random(seed)
        self._http = httpx.Client(base_url=url, timeout=30, verify=False)
        self._numbers = itertools.count()
        self._marker = seed

    def run(self, stop: threading.Event) -> None:
        """Send one request after another until `stop` is set or the server has ended."""
        with self._http:
            try:
                while not stop.is_set():
                    self._step()
            except httpx.TransportError:
                return

    def _step(self) -> None:
        held = self._journal.acknowledged.get(self._collection)
        if held is None:
            self._create()
            return
        actions: list[Callable[[Held], None]] = [self._add, self._add, self._add_vectors, self._start_job]
        if held.images:
            actions += [self._replace_some, self._replace_some, self._rename]
            actions += [partial(self._on_one, self._patch), partial(self._on_one, self._delete)]
        if len(held.images) > MOST_IMAGES:
            actions = [partial(self._on_one, self._delete), self._delete_matching, self._drop]
        actions += [self._change_precision, self._delete_without_vector]
        self._random.choice(actions)(held)

    def _on_one(self, change: Callable[[Held, str], None], held: Held) -> None:
        change(held, self._random.choice(sorted(held.images)))

    def _create(self) -> None:
        keep = self._random.choice(["original", "original", "original", "none"])
        name = self._random.choice(names_of(self._collection))
        self._ask(Held(name, {}, keep), "POST", "/collections", json={"name": name, "keep": keep})

    def _add(self, held: Held) -> None:
        fresh = self._fresh(lambda: self._kept(held))
        self._send(held, fresh)

    def _add_vectors(self, held: Held) -> None:
        fresh = self._fresh(self._vector)
        if held.images and self._random.random() < 0.3:  # a vector in the place of an image, or of another
            fresh[self._random.choice(sorted(held.images))] = self._vector()
        form = [
            ("model", (None, json.dumps(MODEL))),
            ("embeddings", ("rows", b"".join(kept.payload for kept in fresh.values()))),
            ("items", (None, _told(fresh))),
        ]
        path = f"/collections/{held.name}/vectors"
        _require_kept(self._ask(_with(held, fresh), "POST", path, files=form, params={"replace": "true"}))

    def _start_job(self, held: Held) -> None:
        """Send an archive. Once accepted, all its images will exist, except those changed or deleted later.

        While the job runs, images that it has added are changed and deleted. The archive holds new images and
        replacements. The next request waits until the job has ended.
        """
        items = self._fresh(lambda: self._kept(held), most=self._random.choice([5, MOST_OF_A_JOB]))
        if held.images and self._random.random() < 0.5:
            items |= {id: self._kept(held) for id in self._some(held, 3)}
        items = {
            id: replace(kept, metadata=kept.metadata | {"file": f"{id}.png"}) for id, kept in items.items()
        }
        files: dict[str, bytes] = {}
        for id, kept in items.items():
            files[f"{id}.png"] = kept.payload
            files[f"{id}.json"] = json.dumps({"id": id, "metadata": kept.metadata}).encode()
        path, headers = f"/collections/{held.name}/images?replace=true", {"content-type": "application/x-tar"}
        answer = self._ask(_with(held, items), "POST", path, content=tar_of(files), headers=headers)
        self._change_beside(items, f"/jobs/{answer.json()['id']}")

    def _change_beside(self, items: Images, job: str) -> None:
        deadline = time.monotonic() + JOB_ENDS_WITHIN_S
        left = list(items)
        while (told := self._http.get(job).json())["finished_at"] is None or left:
            assert time.monotonic() < deadline, told
            held = self._journal.acknowledged[self._collection]
            assert held is not None
            if left and self._is_there(held, left[0], items[left[0]]):
                id = left.pop(0)
                change = self._random.choice([self._delete, self._replace, self._patch, None, None])
                if change is not None:
                    change(held, id)
                elif self._random.random() < 0.3:
                    self._change_precision(held)
        assert (told["state"], told["counts"]["failed"]) == ("done", 0), told

    def _is_there(self, held: Held, id: str, kept: Kept) -> bool:
        """Whether this image is stored, and not the one that it replaces."""
        found = self._http.get(self._image(held, id))
        return found.status_code == 200 and found.json()["metadata"] == kept.metadata

    def _replace_some(self, held: Held) -> None:
        self._send(held, {id: self._kept(held) for id in self._some(held, 3)}, replace="true")

    def _replace(self, held: Held, id: str) -> None:
        self._send(held, {id: self._kept(held)}, replace="true")

    def _patch(self, held: Held, id: str) -> None:
        change = {"patched": self._random.random()}
        kept = held.images[id]
        after = _with(held, {id: replace(kept, metadata=kept.metadata | change)})
        self._ask(after, "PATCH", self._image(held, id), json={"metadata": change})

    def _delete(self, held: Held, id: str) -> None:
        after = {other: kept for other, kept in held.images.items() if other != id}
        self._ask(replace(held, images=after), "DELETE", self._image(held, id))

    def _delete_matching(self, held: Held) -> None:
        bound = self._random.randrange(N_PICTURES)
        after = {id: kept for id, kept in held.images.items() if kept.metadata["n"] >= bound}
        body = {"filter": {"n": {"lt": bound}}}
        answer = self._ask(
            replace(held, images=after), "POST", f"/collections/{held.name}/deletions", json=body
        )
        assert answer.json()["n_images"] == len(held.images) - len(after)

    def _rename(self, held: Held) -> None:
        (name,) = set(names_of(self._collection)) - {held.name}
        self._ask(replace(held, name=name), "PATCH", f"/collections/{held.name}", json={"name": name})

    def _change_precision(self, held: Held) -> None:
        """Begin to move the server to a precision; another writer may cancel that by naming the other one."""
        path, body = f"/models/{TINY}/versions/1/activate", {"precision": self._random.choice(PRECISIONS)}
        answer = self._http.post(path, json=body)
        assert answer.is_success, answer.text

    def _delete_without_vector(self, held: Held) -> None:
        """Delete images without a vector: there are none, since each has one before it is acknowledged."""
        answer = self._ask(held, "POST", f"/collections/{held.name}/deletions", json={"lacking": True})
        assert answer.json()["n_images"] == 0, answer.text

    def _drop(self, held: Held) -> None:
        self._ask(None, "DELETE", f"/collections/{held.name}")

    def _send(self, held: Held, items: Images, **parameters: str) -> None:
        files = [("image", (id, kept.payload, "image/png")) for id, kept in items.items()]
        path, told = f"/collections/{held.name}/images", {"items": _told(items)}
        _require_kept(self._ask(_with(held, items), "POST", path, files=files, data=told, params=parameters))

    def _ask(self, after: Held | None, method: str, path: str, **body: Any) -> httpx.Response:
        self._journal.begin(self._collection, after)
        answer = self._http.request(method, path, **body)
        assert answer.is_success, answer.text
        self._journal.acknowledge(self._collection)
        return answer

    def _image(self, held: Held, id: str) -> str:
        return f"/collections/{held.name}/images/{id}"

    def _some(self, held: Held, most: int) -> list[str]:
        return self._random.sample(sorted(held.images), min(len(held.images), self._random.randint(1, most)))

    def _fresh(self, make: Callable[[], Kept], most: int = 5) -> dict[str, Kept]:
        return {f"{self._marker}-{next(self._numbers)}": make() for _ in range(self._random.randint(1, most))}

    def _kept(self, held: Held) -> Kept:
        n = self._random.randrange(N_PICTURES)
        return Kept(tiny_png(n), self._metadata(n), has_file=held.keep == "original")

    def _vector(self) -> Kept:
        n = self._random.randrange(N_PICTURES)
        row = np.random.default_rng(n).standard_normal(EMBED_DIM).astype("<f4")
        numbers = (row / np.linalg.norm(row)).astype("<f4").tobytes()
        return Kept(numbers, self._metadata(n), has_file=False, is_vector=True)

    def _metadata(self, n: int) -> dict[str, Any]:
        return {"n": n, "mark": self._random.random()}


def _with(held: Held, items: Images) -> Held:
    return replace(held, images=dict(held.images) | dict(items))


def _told(items: Images) -> str:
    return json.dumps([{"id": id, "metadata": kept.metadata} for id, kept in items.items()])


def _require_kept(answer: httpx.Response) -> None:
    statuses = {outcome["status"] for outcome in answer.json()["outcomes"]}
    assert statuses <= {"created", "replaced", "unchanged"}, answer.text


class Load:
    """Several concurrent writers, each in a thread."""

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
        """Wait for all writers. Raise the first error that was not caused by the end of the server."""
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

"""Read all content of a server through its API and from its data folder, and compare it with a journal."""

import base64
import hashlib
import random
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from diptych.adapters.sqlite.store import DATABASE
from durability.journal import Held, Images, Journal, Kept
from durability.load import names_of
from support.word_index import disagreeing_words

PAGE = 7  # small, so that a listing has several pages
ALL = 1000  # more hits than there are images
SAMPLE = 3
JOBS_END_WITHIN_S = 60
EMBEDDED_WITHIN_S = 60
REMOVED_WITHIN_S = 60


def settle_all(url: str, data_dir: Path, journal: Journal, writers: list[str], *, thorough: bool) -> None:
    """Wait for running jobs, then check rows, bytes, vectors, words and files against what was acknowledged.

    Original bytes and vectors are checked for the images that the kill left in doubt and a few others, or
    for all images if `thorough`. The files on the disk are always read.
    """
    with httpx.Client(base_url=url, timeout=30, verify=False) as http:
        _wait_for_jobs(http, data_dir)
        files = files_of(data_dir)
        known = {sha256_of(payload): payload for payload in journal.payloads()} | files
        names = {row["name"] for row in _json(http.get("/collections"))["collections"]}
        for writer in writers:
            doubt = journal.in_doubt(writer)
            there = names.intersection(names_of(writer))
            assert len(there) <= 1, f"two collections where one was renamed: {there}"
            found = _mark_indexed(http, next(iter(there)), known) if there else None
            journal.finish_embedding(writer, found)
            if found is not None and found.images:
                ids = found.images.keys()
                chosen = ids if thorough else {*(doubt & ids), *_some(found.images)}
                _check_images(http, found, chosen)
    states = filter(None, journal.acknowledged.values())
    used = {sha256_of(kept.payload) for state in states for kept in state.images.values() if kept.has_file}
    deadline = time.monotonic() + REMOVED_WITHIN_S  # those of a collection that was being dropped
    while (names := files_of(data_dir).keys()) != used and time.monotonic() < deadline:
        time.sleep(0.01)
    assert names == used
    if (data_dir / DATABASE).exists():
        assert disagreeing_words(data_dir) == []


def files_of(data_dir: Path) -> dict[str, bytes]:
    """Return the image files by name, after checking that the content of each matches its name."""
    files = dict[str, bytes]()
    for path in (data_dir / "images").glob("*/*"):
        with suppress(FileNotFoundError):  # the server has just removed it
            files[path.name] = path.read_bytes()
    assert [name for name, payload in files.items() if sha256_of(payload) != name] == []
    return files


def sha256_of(payload: bytes) -> str:
    """Return the sha256 of the bytes in hexadecimal."""
    return hashlib.sha256(payload).hexdigest()


def _wait_for_jobs(http: httpx.Client, data_dir: Path) -> None:
    """Wait until all jobs have ended; check that none failed and none left an input file."""
    deadline = time.monotonic() + JOBS_END_WITHIN_S
    while any(job["finished_at"] is None for job in _jobs(http)):
        assert time.monotonic() < deadline, "jobs do not end"
        time.sleep(0.01)
    for job in _jobs(http):
        assert (job["state"], job["n_done"], job["counts"]["failed"]) == ("done", job["n_items"], 0), job
    assert list((data_dir / "jobs").iterdir()) == []


def _jobs(http: httpx.Client) -> list[Any]:
    jobs: list[Any] = _json(http.get("/jobs"))["jobs"]
    return jobs


def _mark_indexed(http: httpx.Client, collection: str, known: Mapping[str, bytes]) -> Held:
    images: dict[str, Kept] = {}
    after: dict[str, str] = {}
    while True:
        page = _json(http.get(f"/collections/{collection}/images", params={"limit": PAGE, **after}))
        images |= {row["id"]: _kept(row, known) for row in page["images"]}
        if page["next"] is None:
            told = _embedded(http, collection)
            assert (told["n_images"], told["n_embedded"]) == (len(images), len(images))
            return Held(collection, images, told["keep"])
        after = {"after": page["next"]}


def _embedded(http: httpx.Client, collection: str) -> Any:
    """Wait until the collection is ready, since a kill may interrupt re-embedding; return its description."""
    deadline = time.monotonic() + EMBEDDED_WITHIN_S
    while _is_moving(told := _json(http.get(f"/collections/{collection}"))):
        assert time.monotonic() < deadline, told
        time.sleep(0.01)
    assert told["state"] == "ready", told
    return told


def _is_moving(told: Any) -> bool:
    return told["state"] == "embedding" or told["rollout"] is not None


def _kept(row: Any, known: Mapping[str, bytes]) -> Kept:
    is_vector = row["media_type"] == "application/octet-stream"
    return Kept(known[row["sha256"]], row["metadata"], has_file=row["kept"], is_vector=is_vector)


def _some(images: Images) -> list[str]:
    return random.Random(len(images)).sample(sorted(images), min(SAMPLE, len(images)))


def _check_images(http: httpx.Client, held: Held, chosen: Collection[str]) -> None:
    """Check the bytes of the chosen images, and that a search with each finds it among all images."""
    for id in chosen:
        kept = held.images[id]
        original = http.get(f"/collections/{held.name}/images/{id}/original")
        assert original.status_code == (200 if kept.has_file else 404)
        assert original.content == kept.payload or not kept.has_file
        hits = _hits(http, held, id)
        assert hits.keys() == held.images.keys() - ({id} if kept.is_vector else set())
        assert all(hit["metadata"] == held.images[other].metadata for other, hit in hits.items())
        if kept.is_vector:
            _check_cosines(held.images, id, {other: hit["cosine"] for other, hit in hits.items()})
        else:
            assert hits[id]["cosine"] > 1 - 1e-5


def _hits(http: httpx.Client, held: Held, id: str) -> dict[str, Any]:
    """Search with the image, or with the stored vector if there is no image; return all hits by id."""
    kept = held.images[id]
    uri = f"data:image/png;base64,{base64.b64encode(kept.payload).decode()}"
    query = {"query": {"id": id} if kept.is_vector else {"image": uri}, "k": ALL, "collection": held.name}
    return {hit["id"]: hit for hit in _json(http.post("/search", json=query))["hits"]}


def _check_cosines(images: Images, id: str, cosines: Mapping[str, float]) -> None:
    """Check the cosines between one added vector and all others against the numbers that were sent."""
    rows = {other: np.frombuffer(kept.payload, "<f4") for other, kept in images.items() if kept.is_vector}
    for other in rows.keys() & cosines.keys():
        assert abs(cosines[other] - float(rows[other] @ rows[id])) < 1e-5


def _json(answer: httpx.Response) -> Any:
    assert answer.is_success, answer.text
    return answer.json()

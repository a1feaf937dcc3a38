"""Read everything that a server has, as its users see it, and what lies in its folder."""

import base64
import hashlib
import random
from collections.abc import Collection
from pathlib import Path
from typing import Any

import httpx

from durability.journal import Images, Journal, Kept, State

PAGE = 7  # small, so that listing takes several pages
ALL = 1000  # more hits than there are images
SAMPLE = 3


def settle_all(url: str, data_dir: Path, journal: Journal, collections: list[str], *, thorough: bool) -> None:
    """Compare with what was acknowledged: rows, bytes, vectors and files.

    Bytes are asked for and vectors searched with for the images that the kill left in doubt and a few more;
    `thorough` is for all. The files themselves are always read.
    """
    files = files_of(data_dir)
    with httpx.Client(base_url=url, timeout=30, verify=False) as http:
        names = {row["name"] for row in _json(http.get("/collections"))["collections"]}
        for name in collections:
            doubt = journal.in_doubt(name)
            found = _listed(http, name, files) if name in names else None
            journal.settle(name, found)
            if found:
                chosen = found.keys() if thorough else {*(doubt & found.keys()), *_some(found)}
                _check_images(http, name, found, chosen)
    states = filter(None, journal.acknowledged.values())
    used = {sha256_of(kept.payload) for state in states for kept in state.values()}
    assert used <= files.keys()
    if used:  # with no row at all the database may have been lost, and files are left alone
        assert files.keys() == used


def files_of(data_dir: Path) -> dict[str, bytes]:
    """Image files by name; each is whole, and nothing else lies there."""
    files = {path.name: path.read_bytes() for path in (data_dir / "images").glob("*/*")}
    assert [name for name, payload in files.items() if sha256_of(payload) != name] == []
    return files


def sha256_of(payload: bytes) -> str:
    """In hex."""
    return hashlib.sha256(payload).hexdigest()


def _listed(http: httpx.Client, collection: str, files: dict[str, bytes]) -> State:
    images: dict[str, Kept] = {}
    after: dict[str, str] = {}
    while True:
        page = _json(http.get(f"/collections/{collection}/images", params={"limit": PAGE, **after}))
        images |= {row["id"]: Kept(files[row["sha256"]], row["metadata"]) for row in page["images"]}
        if page["next"] is None:
            assert _json(http.get(f"/collections/{collection}"))["n_images"] == len(images)
            return images
        after = {"after": page["next"]}


def _some(images: Images) -> list[str]:
    return random.Random(len(images)).sample(sorted(images), min(SAMPLE, len(images)))


def _check_images(http: httpx.Client, collection: str, images: Images, chosen: Collection[str]) -> None:
    """Each has its bytes; a search with these finds it, among exactly the images that are there."""
    for id in chosen:
        payload = images[id].payload
        original = http.get(f"/collections/{collection}/images/{id}/original")
        assert (original.status_code, original.content) == (200, payload)
        uri = f"data:image/png;base64,{base64.b64encode(payload).decode()}"
        query = {"query": {"image": uri}, "k": ALL, "collection": collection}
        hits = {hit["id"]: hit for hit in _json(http.post("/search", json=query))["hits"]}
        assert hits.keys() == images.keys()
        assert hits[id]["cosine"] > 1 - 1e-5
        assert hits[id]["metadata"] == images[id].metadata


def _json(answer: httpx.Response) -> Any:
    assert answer.is_success, answer.text
    return answer.json()

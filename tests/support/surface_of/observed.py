"""What a running server shows: statuses and problems of many requests, metrics, the keys of its log."""

import json
import re
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from support.hostile.containers import encoded, scene
from support.surface_of.checkout import Checkout
from support.tars import tar_of

Json = dict[str, Any]
Asked = tuple[str, str, Json]  # what is asked, with its method in front; path; more
IN_WORDS = frozenset({"encoder", "stage", "reason", "result"})  # labels whose values are fixed words
OTHER_HOST, NO_KEY = {"Host": "other.example"}, {"Authorization": "Bearer wrong"}
PETS, SEARCH, EMBED = "/collections/pets", "/search", "/embed"
TEXT = {"text": "a cat"}


def observed(checkout: Checkout) -> Json:
    data, gallery = checkout.home / "observed", checkout.home / "gallery"
    gallery.mkdir()
    (gallery / "one.png").write_bytes(picture(100))
    (gallery / "items.jsonl").write_text(json.dumps({"file": "one.png", "id": "one", "metadata": {}}))
    shown: Json = {}
    with checkout.serving(data, "--gallery", str(gallery)) as client:
        answers = [
            (what, path, _ask(client, what, path, how))
            for what, path, how in _requests(client, checkout.model)
        ]
        deadline = time.monotonic() + 60
        while not client.get("/collections/gallery").json().get("n_images") and time.monotonic() < deadline:
            time.sleep(0.05)
        found = metrics(client.get("/metrics").text)
    common = set.intersection(*(set(response.headers) for _, _, response in answers))
    for what, path, response in answers:
        shown.setdefault(f"{path}: {what}", []).append(_answer(response, common))
    shown["every answer"] = " ".join(sorted(common))
    return {"metrics": found, "answers": shown, "log": log_keys(data.with_suffix(".log"))}


def picture(seed: int) -> bytes:
    return encoded(scene(60, 50, seed), "PNG")


def _ask(client: httpx.Client, what: str, path: str, how: Json) -> httpx.Response:
    if path.startswith("/jobs/JOB"):
        path = path.replace("JOB", client.get("/jobs").json()["jobs"][0]["id"])
    return client.request(what.partition(" ")[0], path, **how)


# fmt: off
def _requests(client: httpx.Client, name: str) -> Iterator[Asked]:
    """Good and bad ones of every kind, to a server of the model `name`."""
    for path in ("/healthz", "/readyz", "/version", "/models", f"/models/{name}", "/models/none",
                 "/nowhere", "/", "/v1/models", "/jobs", "/jobs/none", "/collections", "/metrics"):
        yield "GET", path, {}
    yield "GET without a key", "/models", {"headers": NO_KEY}
    yield "GET of another host", "/models", {"headers": OTHER_HOST}
    yield "PUT", EMBED, {}
    yield "POST texts", EMBED, {"json": {"input": [TEXT]}}
    yield "POST rows", EMBED, {"json": {"input": [TEXT]}, "headers": {"Accept": "application/octet-stream"}}
    yield "POST a form", EMBED, {"files": [("image", picture(1)), ("text", (None, "a dog"))]}
    yield "POST an unknown key", EMBED, {"json": {"inputs": [TEXT]}}
    yield "POST too much", EMBED, {"json": {"input": [TEXT] * 257}}
    for kind, body in (("image/png", picture(0)), ("image/png", picture(0)[:200]), ("image/gif", b"hello"),
                       ("text/plain", b"a"), ("text/plain", b"\xff"), ("application/json", b"{"),
                       ("a/b", b"a")):
        yield f"POST {len(body)} bytes of {kind}", EMBED, {"content": body, "headers": {"Content-Type": kind}}
    form = {"image": picture(0), "labels": (None, "cat"), "template": (None, "a {}")}
    yield from [("POST", "/classify", {"files": form})] * 2  # the labels are known at last
    yield "POST no labels", "/classify", {"files": {"image": picture(0)}}
    yield "POST", "/v1/embeddings", {"json": {"model": name, "input": ["a", "b"]}}
    yield "POST another model", "/v1/embeddings", {"json": {"model": "none", "input": "a"}}
    yield "POST no input", "/v1/embeddings", {"json": {"model": name}}
    yield from [("POST", "/collections", {"json": {"name": own}}) for own in ("pets", "pets", "No!")]
    items = json.dumps([{"id": "a", "metadata": {"n": 1}}, {"id": "b", "metadata": {"n": 2}}])
    two = {"files": [("image", picture(2)), ("image", picture(3)), ("items", (None, items))]}
    yield from [("POST two", f"{PETS}/images", two)] * 2
    other = {"files": {"image": picture(4), "items": (None, json.dumps([{"id": "a"}]))}}
    yield "POST a taken id", f"{PETS}/images", other
    yield "POST in its place", f"{PETS}/images", {**other, "params": {"replace": "true"}}
    yield "POST no image", f"{PETS}/images", {"files": {"image": b"hello"}}
    yield "POST text", f"{PETS}/images", {"content": b"hello", "headers": {"Content-Type": "text/plain"}}
    archive = tar_of({"c.png": picture(5), "d.png": b"no image"})
    tar = {"content": archive, "headers": {"Content-Type": "application/x-tar"}}
    yield "POST an archive", f"{PETS}/images", tar
    yield from (("GET", f"/jobs/JOB{path}", {}) for path in ("/events", "", "/outcomes"))
    yield "DELETE", "/jobs/JOB", {}
    row = client.post(EMBED, json={"input": [TEXT]}).json()
    model = {"name": name, "version": row["model"]["version"], "precision": "fp32"}
    for embedding in (row["data"][0]["embedding"], [1.0]):
        yield f"POST {len(embedding)} numbers", f"{PETS}/vectors", {
            "json": {"model": model, "items": [{"id": "v", "embedding": embedding}]}}
    for query in (TEXT, {"id": "a"}, {"id": "none"}, {"text": "a", "weight": 0}):
        yield f"POST {query}", SEARCH, {"json": {"query": query, "collection": "pets"}}
    for asked in ("gte", "near"):
        query = {"query": TEXT, "collection": "pets", "filter": {"n": {asked: 2}}, "exact": True}
        yield f"POST a filter by {asked}", SEARCH, {"json": query}
    yield "POST a form", SEARCH, {"files": {"image": picture(0), "collection": (None, "pets")}}
    for params in ({"collection": "pets"}, {"k": "1001"}, {"collection": "none"}):
        yield f"GET {params}", SEARCH, {"params": {"q": "a cat", **params}}
    for path in ("", "/images", "/images/b", "/images/none", "/images/b/original", "/images/b/thumbnail"):
        yield "GET", f"{PETS}{path}", {}
    yield "POST", f"{PETS}/lookups", {"json": {"ids": ["a", "none"]}}
    yield "PATCH", f"{PETS}/images/b", {"json": {"metadata": {"n": 3}}}
    yield "PATCH", PETS, {"json": {"keep": "none"}}
    for preview in (True, False):
        yield "POST", f"{PETS}/deletions", {"json": {"filter": {"n": 3}, "preview": preview}}
    yield from (("DELETE", f"{PETS}{path}", {}) for path in ("/images/a", "/images/a", "", ""))
# fmt: on


def _answer(response: httpx.Response, common: set[str]) -> str:
    """Status, content type, type of the problem, and the names of headers that are not common."""
    kind = response.headers.get("content-type", "")
    problem = response.json().get("type", "") if "problem" in kind else ""
    return " ".join([str(response.status_code), kind, problem, *sorted(response.headers.keys() - common)])


def metrics(exposed: str) -> Json:
    """Type and labels of each family, in Prometheus' text format."""
    labels: defaultdict[str, set[str]] = defaultdict(set)
    for name, inside in re.findall(r"^(\w+)\{(.*)\} \S+$", exposed, flags=re.MULTILINE):
        for label, value in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', inside):
            labels[name].add(f"{label}={value}" if label in IN_WORDS else label)
    return {
        name: " ".join([kind, *sorted(labels[f"{name}_bucket" if kind == "histogram" else name])])
        for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", exposed, flags=re.MULTILINE)
        if not name.endswith("_created")
    }


def log_keys(log: Path) -> Json:
    """Of the line of each route, and of all others together; the names of the loggers."""
    lines = [json.loads(one) for one in log.read_text().splitlines() if one.startswith("{")]
    keys: defaultdict[str, set[str]] = defaultdict(set)
    for line in lines:
        keys[f"{line['method']} {line['route']}" if "route" in line else "others"] |= line.keys()
    found: Json = {route: dict.fromkeys(sorted(of), "") for route, of in keys.items()}
    return found | {"loggers": dict.fromkeys(sorted({line["logger"] for line in lines}), "")}

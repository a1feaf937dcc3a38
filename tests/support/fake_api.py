"""A fake of the API: answers the requests of the client in memory and records them."""

import json
import struct
from base64 import b64encode
from collections.abc import Callable
from email import message_from_bytes
from email.message import Message
from typing import Any, cast

import httpx

MODEL = {"name": "tiny", "version": 3, "precision": "fp32", "decode": "exact"}
PETS = {
    "name": "pets",
    "model": "tiny",
    "n_images": 12,
    "created_at": "2026-01-01T00:00:00Z",
    "state": "ready",
    "n_embedded": 12,
}
ROLLOUT = {
    "id": "r1",
    "target": {"name": "tiny", "version": 4, "precision": "fp32"},
    "state": "embedding",
    "progress": {"n_images": 10, "n_embedded": 4, "images_per_s": 2.0, "eta_s": 3.0},
    "stays": {},
    "reason": "",
    "comparison": None,
    "created_at": "2026-01-01T00:00:00Z",
    "finished_at": None,
}
ACTIVE = ROLLOUT | {"state": "active", "progress": None, "finished_at": "2026-01-01T00:01:00Z"}
COMPARISON = {
    "collections": [
        {
            "collection": "pets",
            "n_images": 1141,
            "coverage": 1.0,
            "old": {"model": "tiny", "version": 4, "precision": "fp32", "golden_cosine_min": 0.99999},
            "new": {"model": "tiny", "version": 5, "precision": "fp32", "golden_cosine_min": 0.99999},
            "n_queries": 40,
            "overlap_at_10": 0.832,
            "changed": [
                {
                    "text": "a <b> & c",
                    "id": None,
                    "overlap": 0.5,
                    "old": ["tom", "rex"],
                    "new": ["rex", "<i>"],
                },
                {"text": None, "id": "rex", "overlap": 0.5, "old": ["tom", "kit"], "new": ["kit", "gone"]},
            ],
            "labels": [
                {
                    "label_set": "kind",
                    "n": 200,
                    "n_agree_old": 180,
                    "n_agree_new": 150,
                    "n_gained": 5,
                    "n_lost": 35,
                    "agrees_less": True,
                }
            ],
        }
    ],
    "unmet": [],
}
Reply = httpx.Response | Callable[[httpx.Request], httpx.Response]


def base64_row(*numbers: float) -> str:
    """Encode numbers as the API encodes embeddings: base64 of little-endian float32."""
    return b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode("ascii")


def ok(value: object) -> httpx.Response:
    """A successful JSON response."""
    return httpx.Response(200, json=value)


def problem(status: int, detail: str, item: str | None = None, **headers: str) -> httpx.Response:
    """An error response as the server writes it."""
    body = {"type": "urn:x", "title": "Refused", "status": status, "detail": detail, "request_id": "r-1"}
    if item:
        body |= {"item": item, "detail": f"{item}: {detail}"}
    return httpx.Response(status, json=body, headers={"content-type": "application/problem+json"} | headers)


def parts(request: httpx.Request) -> list[tuple[str, bytes]]:
    """Return name and content of the parts of a multipart request, in body order."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    form = cast(list[Message], message_from_bytes(head + request.content).get_payload())
    return [
        (
            str(part.get_param("name", header="content-disposition")),
            cast(bytes, part.get_payload(decode=True)),
        )
        for part in form
    ]


def body(request: httpx.Request) -> Any:
    """Return the JSON body of a request."""
    return json.loads(request.content)


class FakeApi:
    """Scripted replies by "METHOD /path". The last reply of a path is repeated. Records all `requests`."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self._replies: dict[str, list[Reply]] = {}

    def on(self, call: str, *replies: Reply) -> "FakeApi":
        """Script the replies to a call, one after the other."""
        self._replies[call] = list(replies)
        return self

    def calls(self) -> list[str]:
        """Return the calls so far as "METHOD /path"."""
        return [f"{request.method} {request.url.path}" for request in self.requests]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        replies = self._replies.get(f"{request.method} {request.url.path}")
        if replies is None:
            return problem(404, f"{request.url.path} is not scripted")
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        return reply(request) if callable(reply) else reply

    def transport(self) -> httpx.MockTransport:
        """Return a transport for `Client(transport=...)` and `AsyncClient(transport=...)`."""
        return httpx.MockTransport(self)


def embed_reply(request: httpx.Request) -> httpx.Response:
    """Reply to `/embed` with one row per item: (index, length of the image, text or URL)."""
    if request.headers["content-type"].startswith("multipart/"):
        sizes = [len(content) for name, content in parts(request) if name == "image"]
    else:
        sizes = [len(item.get("text") or item["image"]) for item in body(request)["input"]]
    data = [
        {"index": i, "embedding": base64_row(i, size), "truncated": False} for i, size in enumerate(sizes)
    ]
    return httpx.Response(200, json={"model": MODEL, "data": data})


def add_reply(request: httpx.Request) -> httpx.Response:
    """Reply to an add: each image is created with its content as id; "bad..." fails with a 415."""
    outcomes = []
    images = [content.decode() for name, content in parts(request) if name == "image"]
    for index, image in enumerate(images):
        error = {"title": "Unsupported image", "status": 415, "detail": "no decoder"}
        bad = image.startswith("bad")
        outcomes.append(
            {
                "index": index,
                "id": None if bad else image,
                "status": "failed" if bad else "created",
                "error": error if bad else None,
            }
        )
    return httpx.Response(200, json={"model": MODEL, "collection": "pets", "outcomes": outcomes})


def search_reply(*hits: dict[str, Any], **fields: Any) -> httpx.Response:
    """The response of a search with these hits, and other fields."""
    rows = [{"metadata": {}, "links": {}} | hit for hit in hits]
    return ok({"model": MODEL, "collection": "pets", "hits": rows, "truncated": False} | fields)


def classify_reply(*labels: tuple[str, float]) -> httpx.Response:
    """The response of a classification of one image: (label, score) in this order."""
    predictions = [{"label": label, "score": score, "cosine": 0.2} for label, score in labels]
    return ok({"model": MODEL, "data": [{"index": 0, "predictions": predictions}]})

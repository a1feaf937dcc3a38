"""Every API call that accepts an image file, as a function each."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from support.image_requests import data_uri

LABELS = ["a red apple", "a blue bird"]


@dataclass(frozen=True)
class Answer:
    """The result of one file: status, the item that an error names, and the vector if there is one."""

    status: int
    item: str | None = None
    vector: "np.ndarray | None" = None
    body: str = ""


ImageCall = Callable[[httpx.Client, bytes], Answer]


def embed_raw(client: httpx.Client, file: bytes) -> Answer:
    """Send the file as the body."""
    return _vector_of(client.post("/embed", content=file, headers={"Content-Type": "image/png"}))


def embed_form(client: httpx.Client, file: bytes) -> Answer:
    """Send the file in a form with a false name and media type."""
    return _vector_of(client.post("/embed", files=[("image", ("notes.txt", file, "text/plain"))]))


def embed_json(client: httpx.Client, file: bytes) -> Answer:
    """Send the file as a data URI."""
    return _vector_of(client.post("/embed", json={"input": [{"image": data_uri(file, "image/webp")}]}))


def classify_form(client: httpx.Client, file: bytes) -> Answer:
    """Classify the file in a form, with two labels."""
    parts: Any = [("image", ("x.jpg", file)), ("labels", (None, json.dumps(LABELS)))]
    return _answer(client.post("/classify", files=parts))


def classify_json(client: httpx.Client, file: bytes) -> Answer:
    """Classify the file in a data URI, with two labels."""
    return _answer(
        client.post("/classify", json={"images": [data_uri(file, "image/webp")], "labels": LABELS})
    )


def search_json(client: httpx.Client, file: bytes) -> Answer:
    """Search with the file."""
    return _answer(client.post("/search", json={"query": {"image": data_uri(file, "image/webp")}, "k": 3}))


def add(client: httpx.Client, file: bytes) -> Answer:
    """Add the file to the collection `default`."""
    return _answer(client.post("/collections/default/images", files=[("image", ("x.gif", file))]))


IMAGE_CALLS: tuple[ImageCall, ...] = (
    embed_raw,
    embed_form,
    embed_json,
    classify_form,
    classify_json,
    search_json,
    add,
)


def embed_many(client: httpx.Client, files: Sequence[bytes]) -> Answer:
    """Embed several files in one request. One bad file fails the whole request."""
    return _answer(client.post("/embed", files=[("image", ("x", file)) for file in files]))


def classify_many(client: httpx.Client, files: Sequence[bytes]) -> Answer:
    """Classify several files in one request. One bad file fails the whole request."""
    parts: Any = [("image", ("x", file)) for file in files]
    return _answer(client.post("/classify", files=[*parts, ("labels", (None, json.dumps(LABELS)))]))


def add_many(client: httpx.Client, files: Sequence[bytes]) -> list[int]:
    """Add several files; return the status of each: 200, or that of its error."""
    answer = client.post("/collections/default/images", files=[("image", ("x", file)) for file in files])
    assert answer.status_code == 200, answer.text
    outcomes = answer.json()["outcomes"]
    assert [one["index"] for one in outcomes] == list(range(len(files)))
    return [200 if one["error"] is None else one["error"]["status"] for one in outcomes]


def _answer(answer: httpx.Response) -> Answer:
    if answer.is_success:
        return Answer(200, body=answer.text)
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    problem = answer.json()
    assert problem["status"] == answer.status_code
    return Answer(answer.status_code, problem.get("item"), body=answer.text)


def _vector_of(answer: httpx.Response) -> Answer:
    if not answer.is_success:
        return _answer(answer)
    (row,) = answer.json()["data"]
    return Answer(200, vector=np.array(row["embedding"], np.float32))

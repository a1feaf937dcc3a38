"""Every API call that takes an image file, as one function each."""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

LABELS = ["a red apple", "a blue bird"]


@dataclass(frozen=True)
class Answer:
    """What came of one file: its status, the name of what was refused, its vector if there is one."""

    status: int
    item: str | None = None
    vector: "np.ndarray | None" = None
    body: str = ""


Door = Callable[[httpx.Client, bytes], Answer]


def embed_raw(client: httpx.Client, file: bytes) -> Answer:
    """The body is the file."""
    return _vector_of(client.post("/embed", content=file, headers={"Content-Type": "image/png"}))


def embed_form(client: httpx.Client, file: bytes) -> Answer:
    """A part of a form, whose file name and type lie."""
    return _vector_of(client.post("/embed", files=[("image", ("notes.txt", file, "text/plain"))]))


def embed_json(client: httpx.Client, file: bytes) -> Answer:
    """A data URI."""
    return _vector_of(client.post("/embed", json={"input": [{"image": data_uri(file)}]}))


def classify_form(client: httpx.Client, file: bytes) -> Answer:
    """With two labels."""
    parts: Any = [("image", ("x.jpg", file)), ("labels", (None, json.dumps(LABELS)))]
    return _answer(client.post("/classify", files=parts))


def classify_json(client: httpx.Client, file: bytes) -> Answer:
    """With two labels."""
    return _answer(client.post("/classify", json={"images": [data_uri(file)], "labels": LABELS}))


def search_json(client: httpx.Client, file: bytes) -> Answer:
    """By an image."""
    return _answer(client.post("/search", json={"query": {"image": data_uri(file)}, "k": 3}))


def add(client: httpx.Client, file: bytes) -> Answer:
    """To the collection `default`."""
    return _answer(client.post("/collections/default/images", files=[("image", ("x.gif", file))]))


DOORS: tuple[Door, ...] = (
    embed_raw,
    embed_form,
    embed_json,
    classify_form,
    classify_json,
    search_json,
    add,
)


def embed_many(client: httpx.Client, files: Sequence[bytes]) -> Answer:
    """Several at once: the refusal of one is that of all."""
    return _answer(client.post("/embed", files=[("image", ("x", file)) for file in files]))


def classify_many(client: httpx.Client, files: Sequence[bytes]) -> Answer:
    """Several at once: the refusal of one is that of all."""
    parts: Any = [("image", ("x", file)) for file in files]
    return _answer(client.post("/classify", files=[*parts, ("labels", (None, json.dumps(LABELS)))]))


def add_many(client: httpx.Client, files: Sequence[bytes]) -> list[int]:
    """The status of each: 200, or that of its problem."""
    answer = client.post("/collections/default/images", files=[("image", ("x", file)) for file in files])
    assert answer.status_code == 200, answer.text
    outcomes = answer.json()["outcomes"]
    assert [one["index"] for one in outcomes] == list(range(len(files)))
    return [200 if one["error"] is None else one["error"]["status"] for one in outcomes]


def data_uri(file: bytes) -> str:
    """The file as text, of a type that it need not be."""
    return f"data:image/webp;base64,{base64.b64encode(file).decode()}"


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

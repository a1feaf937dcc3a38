"""Good requests that encode: embeddings and labels, each checked against what it must be."""

import base64
import math

import numpy as np

from benchmarks.serving.default_model import MODEL
from benchmarks.serving.http_message import OCTETS, Part, labels_part
from benchmarks.soak.caller import Caller, Failed
from benchmarks.soak.connection import Answer
from benchmarks.soak.messages import post_form, post_json, post_picture
from benchmarks.soak.world import Known, Picture, World, rows

PER_FORM = 8
PER_LIST = 8


async def embed_picture(caller: Caller, world: World) -> None:
    """One of the pictures whose vector is known, as the whole body."""
    known = world.draw.choice(world.known)
    message = post_picture("/embed", known.picture.payload, known.picture.media_type)
    _compare(caller, "embed picture", known, rows(await caller.good("embed, a picture", message))[0])


async def embed_photo(caller: Caller, world: World) -> None:
    """Any photograph as the whole body."""
    photo = world.draw.choice(world.photos)
    await caller.good("embed, a photo", post_picture("/embed", photo.payload, photo.media_type))


async def embed_form(caller: Caller, world: World) -> None:
    """Known pictures between others, and a text, in one form."""
    others = world.draw.sample(world.pictures, PER_FORM // 2)
    known = world.draw.sample(world.known, PER_FORM // 2)
    pairs = zip(known, others, strict=True)
    parts = [part_of(picture) for one, other in pairs for picture in (one.picture, other)]
    parts.append(Part("text", world.new_text().encode()))
    found = rows(await caller.good("embed, a form of 9", post_form("/embed", parts, OCTETS)))
    if len(found) != len(parts):
        raise Failed(f"embed, a form: {len(found)} rows for {len(parts)} items")
    for i, one in enumerate(known):
        _compare(caller, "embed form", one, found[2 * i])


async def embed_texts(caller: Caller, world: World) -> None:
    """Known texts between new ones, as JSON."""
    known = world.draw.sample(world.known_texts, PER_LIST // 2)
    texts = [text for one, _ in known for text in (one, world.new_text())]
    message = post_json("/embed", {"input": [{"text": text} for text in texts]}, OCTETS)
    found = rows(await caller.good("embed, 8 texts", message))
    for i, (text, row) in enumerate(known):
        caller.compare(f"embed texts: {text}", found[2 * i], row)


async def openai_texts(caller: Caller, world: World) -> None:
    """The same in OpenAI's shape."""
    known = world.draw.sample(world.known_texts, PER_LIST // 2)
    texts = [text for one, _ in known for text in (one, world.new_text())]
    encoding = world.draw.choice(["base64", "float"])
    body = {"model": MODEL, "input": texts, "encoding_format": encoding}
    found = (await caller.good("v1, 8 texts", post_json("/v1/embeddings", body))).json()["data"]
    for i, (text, row) in enumerate(known):
        embedding = found[2 * i]["embedding"]
        got = (
            np.frombuffer(base64.b64decode(embedding), "<f4")
            if encoding == "base64"
            else np.array(embedding, np.float32)
        )
        caller.compare(f"v1: {text}", got, row)


async def classify_known(caller: Caller, world: World) -> None:
    """A picture against labels that were asked for before."""
    labels = world.draw.choice(world.known_labels)
    parts = [part_of(world.draw.choice(world.pictures)), labels_part(labels)]
    answer = await caller.good("classify, known labels", post_form("/classify", parts))
    check_predictions(answer, n_images=1, labels=labels)


async def classify_new(caller: Caller, world: World) -> None:
    """Two pictures against labels that nobody has asked for."""
    labels = world.new_labels()
    parts = [*map(part_of, world.draw.sample(world.pictures, 2)), labels_part(labels)]
    answer = await caller.good("classify, new labels", post_form("/classify", parts))
    check_predictions(answer, n_images=2, labels=labels)


async def fill_labels(caller: Caller, world: World) -> int:
    """Labels that nobody has asked for, alone: how many."""
    labels = world.new_labels()
    parts = [part_of(world.pictures[0]), labels_part(labels), Part("templates", b"label")]
    await caller.good("fill", post_form("/classify", parts))
    return len(labels)


def part_of(picture: Picture) -> Part:
    return Part("image", picture.payload, picture.media_type)


def check_predictions(answer: Answer, *, n_images: int, labels: list[str]) -> None:
    """All labels once for each image, best first, as probabilities. Raises Failed."""
    data = answer.json()["data"]
    if len(data) != n_images:
        raise Failed(f"classify: {len(data)} answers for {n_images} images")
    for one in data:
        scores = [prediction["score"] for prediction in one["predictions"]]
        named = {prediction["label"] for prediction in one["predictions"]}
        if named != set(labels) or len(scores) != len(labels):
            raise Failed(f"classify: {len(scores)} predictions for {len(labels)} labels")
        if scores != sorted(scores, reverse=True) or not math.isclose(sum(scores), 1, rel_tol=1e-3):
            raise Failed(f"classify: scores {scores[:5]}, together {sum(scores)}")


def _compare(caller: Caller, what: str, known: Known, row: np.ndarray) -> None:
    caller.compare(f"{what}: {known.picture.id or 'a photo'}", row, known.row)

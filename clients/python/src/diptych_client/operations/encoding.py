"""`embed` and `classify`: any number of texts and images, sent in bounded requests."""

from __future__ import annotations

from collections.abc import Sequence

from diptych_client import parsing
from diptych_client.errors import InvalidCall
from diptych_client.images import ImageSource, Loaded, SourceBatches, images_of, listed
from diptych_client.operations.naming import items_named, same_model
from diptych_client.results import (
    Classification,
    ClassifiedImage,
    EmbeddedItem,
    Embeddings,
    Json,
    ModelRef,
)
from diptych_client.steps import Answer, Part, Request, Steps, exchange, json_bytes, utf8

MAX_TEXTS = 256


def embed(*, texts: Sequence[str] = (), images: Sequence[ImageSource] = ()) -> Steps[Embeddings]:
    """Embed texts and images into one space.

    Embeddings have unit norm: their dot product is their cosine. They come in the order given, as
    `array('f')`, and `numpy.stack([item.embedding for item in result.images])` makes a matrix of them.
    Raises ApiError naming the first bad item (``images[3]``), and UnreadableFile.
    """
    images = images_of(images)
    if not texts and not images:
        raise InvalidCall("embed needs texts or images")
    model, text_rows = yield from _embed_texts(listed("texts", texts))
    model, image_rows = yield from _embed_images(images, model)
    return Embeddings(model, tuple(text_rows), tuple(image_rows))


def _embed_texts(texts: Sequence[str]) -> Steps[tuple[ModelRef | None, list[EmbeddedItem]]]:
    model: ModelRef | None = None
    rows: list[EmbeddedItem] = []
    for start in range(0, len(texts), MAX_TEXTS):
        body = {"input": [{"text": text} for text in texts[start : start + MAX_TEXTS]]}
        with items_named("texts", start):
            answer = yield from exchange(
                Request("POST", "/embed", json={**body, "encoding_format": "base64"})
            )
        model = _collect(answer, model, rows)
    return model, rows


def _embed_images(
    images: Sequence[ImageSource], model: ModelRef | None
) -> Steps[tuple[ModelRef, list[EmbeddedItem]]]:
    batches = SourceBatches(images)
    rows: list[EmbeddedItem] = []
    while batch := (yield from batches.take()):
        with items_named("images", batch.start):
            if batch.urls:
                body = {"input": [{"image": url} for url in batch.urls], "encoding_format": "base64"}
                request = Request("POST", "/embed", json=body)
            else:
                parts = [*_image_parts(batch.files), Part("encoding_format", b"base64")]
                request = Request("POST", "/embed", parts=parts)
            answer = yield from exchange(request)
        model = _collect(answer, model, rows)
    assert model is not None, "embed refuses a call without texts and images"
    return model, rows


def _collect(answer: Answer, model: ModelRef | None, rows: list[EmbeddedItem]) -> ModelRef:
    """Append the rows of one answer; its model, which must be that of the answers before."""
    body = answer.json()
    with parsing.reading("/embed"):
        rows.extend(parsing.embedded_item(row) for row in body["data"])
        return same_model(model, parsing.model_ref(body["model"]))


def classify(
    images: Sequence[ImageSource],
    labels: Sequence[str],
    *,
    template: str | None = None,
    templates: Sequence[str] | str | None = None,
    multi_label: bool = False,
    top_k: int | None = None,
) -> Steps[Classification]:
    """Zero-shot predictions: which of `labels` goes with each image, best first.

    `template` is one sentence with one ``{}`` for the label; `templates` are several, whose text embeddings
    are averaged, or the name of a set that the model brings. Scores sum to 1 over the labels, or, with
    `multi_label`, judge each label by itself.
    """
    images = images_of(images)
    if not images:
        raise InvalidCall("classify needs at least one image")
    options = _options(listed("labels", labels), template, templates, multi_label, top_k)
    batches = SourceBatches(images)
    model: ModelRef | None = None
    rows: list[ClassifiedImage] = []
    while batch := (yield from batches.take()):
        with items_named("images", batch.start):
            if batch.urls:
                request = Request("POST", "/classify", json={"images": list(batch.urls), **options})
            else:
                parts = [*_image_parts(batch.files), *_option_parts(options)]
                request = Request("POST", "/classify", parts=parts)
            answer = yield from exchange(request)
        body = answer.json()
        with parsing.reading("/classify"):
            rows.extend(parsing.classified_image(row) for row in body["data"])
            model = same_model(model, parsing.model_ref(body["model"]))
    assert model is not None, "there is at least one batch"
    return Classification(model, tuple(rows))


def _options(
    labels: Sequence[str],
    template: str | None,
    templates: Sequence[str] | str | None,
    multi_label: bool,
    top_k: int | None,
) -> Json:
    """What is asked of every image, as JSON has it."""
    given: Json = {
        "labels": list(labels),
        "template": template,
        "templates": templates if templates is None or isinstance(templates, str) else list(templates),
        "multi_label": multi_label or None,
        "top_k": top_k,
    }
    return {name: value for name, value in given.items() if value is not None}


def _option_parts(options: Json) -> list[Part]:
    """The same as fields of a form. Lists travel as one JSON value: form parsers limit their fields."""
    return [
        Part(name, utf8(value) if isinstance(value, str) else json_bytes(name, value))
        for name, value in options.items()
    ]


def _image_parts(batch: Sequence[Loaded]) -> list[Part]:
    """One `image` part for each image. Raises UnreadableFile for the first that has no bytes."""
    return [Part("image", loaded.bytes_or_raise(), is_file=True) for loaded in batch]

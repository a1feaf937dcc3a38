"""`embed` and `classify`: any number of texts and images, in requests of limited size."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

from diptych_client.binding import Call
from diptych_client.errors import InvalidCall
from diptych_client.images import ImageSource, LoadedImage, SourceBatches, image_list, require_list
from diptych_client.operations.naming import rename_items, same_model
from diptych_client.operations.vectors import Vector, vector_bytes
from diptych_client.results.common import Json, ModelRef
from diptych_client.results.encoding import Classification, EmbeddedItem, Embeddings
from diptych_client.steps import Part, Request, Steps, json_bytes, result_of, utf8

OnProgress = Callable[[int, int], None]

MAX_ITEMS = 256  # texts, embeddings or ids of one request


def embed(
    *,
    texts: Sequence[str] = (),
    images: Sequence[ImageSource] = (),
    on_progress: OnProgress | None = None,
) -> Steps[Embeddings]:
    """Embed texts and images into the same space.

    Embeddings have unit norm: their dot product is their cosine. They are in the order of the arguments, each
    an `array('f')`; `image_matrix()` and `text_matrix()` of the result are NumPy arrays (N, D). An image is a
    path, bytes, a Pillow image, a NumPy array (height, width, 3) or an ImageUrl. `on_progress` gets the
    numbers of items that are embedded, and of all, after each request. Raises ApiError naming the first bad
    item (``images[3]``), and UnreadableFile.

    >>> answer = client.embed(texts=["a red car"], images=["cat.png", "dog.png"])
    >>> answer.image_matrix().shape == (2, len(answer.texts[0].embedding))
    True
    """
    images = image_list(images)
    if not texts and not images:
        raise InvalidCall("embed needs texts or images")
    progress = _Progress(len(texts) + len(images), on_progress)
    model, text_rows = yield from _embed_texts(require_list("texts", texts), progress)
    model, image_rows = yield from _embed_images(images, model, progress)
    return Embeddings(model, tuple(text_rows), tuple(image_rows))


@dataclass(frozen=True)
class _Embedded:
    """One answer of `/embed`."""

    model: ModelRef
    data: tuple[EmbeddedItem, ...]


class _Progress:
    """Counts the items of a call that are done, for a caller who wants to know."""

    def __init__(self, n_items: int, on_progress: OnProgress | None) -> None:
        self._n_done, self._n_items = 0, n_items
        self._on_progress = on_progress

    def advance(self, n_items: int) -> None:
        self._n_done += n_items
        if self._on_progress is not None:
            self._on_progress(self._n_done, self._n_items)


def _embed_texts(
    texts: Sequence[str], progress: _Progress
) -> Steps[tuple[ModelRef | None, list[EmbeddedItem]]]:
    model: ModelRef | None = None
    rows: list[EmbeddedItem] = []
    for start in range(0, len(texts), MAX_ITEMS):
        body = {"input": [{"text": text} for text in texts[start : start + MAX_ITEMS]]}
        with rename_items("texts", start):
            request = Request("POST", "/embed", json={**body, "encoding_format": "base64"})
            answer = yield from result_of(request, _Embedded)
        model = same_model(model, answer.model)
        rows += answer.data
        progress.advance(len(body["input"]))
    return model, rows


def _embed_images(
    images: Sequence[ImageSource], model: ModelRef | None, progress: _Progress
) -> Steps[tuple[ModelRef, list[EmbeddedItem]]]:
    batches = SourceBatches(images)
    rows: list[EmbeddedItem] = []
    while batch := (yield from batches.take()):
        with rename_items("images", batch.start):
            if batch.urls:
                body = {"input": [{"image": url} for url in batch.urls], "encoding_format": "base64"}
                request = Request("POST", "/embed", json=body)
            else:
                parts = [*_image_parts(batch.files), Part("encoding_format", b"base64")]
                request = Request("POST", "/embed", parts=parts)
            answer = yield from result_of(request, _Embedded)
        model = same_model(model, answer.model)
        rows += answer.data
        progress.advance(len(answer.data))
    assert model is not None, "embed refuses a call without texts and images"
    return model, rows


def classify(
    images: Sequence[ImageSource],
    labels: Sequence[str],
    *,
    template: str | None = None,
    templates: Sequence[str] | str | None = None,
    multi_label: bool = False,
    top_k: int | None = None,
    on_progress: OnProgress | None = None,
) -> Steps[Classification]:
    """Classify images zero-shot: return for each image the fitting `labels`, best first.

    `template` is a sentence with one ``{}`` in place of the label. `templates` are several sentences, whose
    text embeddings are averaged, or the name of a set of the model. Scores sum to 1 over the labels; with
    `multi_label`, each label is scored by itself. `on_progress` gets the number of images that are
    classified, and of all, after each request.

    >>> answer = client.classify(["cat.png"], ["cat", "dog"], template="a photo of a {}")
    >>> best = answer.data[0].predictions[0]
    >>> best.label in ("cat", "dog")
    True
    """
    images = image_list(images)
    if not images:
        raise InvalidCall("classify needs at least one image")
    options = _options(require_list("labels", labels), template, templates, multi_label, top_k)
    batches, progress = SourceBatches(images), _Progress(len(images), on_progress)
    answers: list[Classification] = []
    while batch := (yield from batches.take()):
        with rename_items("images", batch.start):
            if batch.urls:
                request = Request("POST", "/classify", json={"images": list(batch.urls), **options})
            else:
                parts = [*_image_parts(batch.files), *_option_parts(options)]
                request = Request("POST", "/classify", parts=parts)
            answers.append((yield from _classified(request, answers)))
        progress.advance(len(answers[-1].data))
    return _joined(answers)


def classify_embeddings(
    embeddings: Sequence[Vector],
    labels: Sequence[str],
    *,
    model: ModelRef,
    template: str | None = None,
    templates: Sequence[str] | str | None = None,
    multi_label: bool = False,
    top_k: int | None = None,
) -> Steps[Classification]:
    """Classify images by their embeddings of an answer of `embed`, to try other labels without sending them.

    `model` is that of the same answer. Raises Conflict if the server has another one by now. The other
    arguments and the result are as in `classify`.

    >>> made = client.embed(images=["cat.png", "dog.png"])
    >>> answer = client.classify_embeddings(made.images, ["cat", "dog"], model=made.model, top_k=1)
    >>> len(answer.data), len(answer.data[0].predictions)
    (2, 1)
    """
    items: list[Json] = [
        {"embedding": b64encode(vector_bytes(vector, f"embeddings[{i}]")).decode("ascii")}
        for i, vector in enumerate(embeddings)
    ]
    options = _options(require_list("labels", labels), template, templates, multi_label, top_k)
    return (yield from _classify_items("embeddings", items, options | {"model": asdict(model)}))


def classify_stored(
    ids: Sequence[str],
    labels: Sequence[str],
    *,
    collection: str | None = None,
    template: str | None = None,
    templates: Sequence[str] | str | None = None,
    multi_label: bool = False,
    top_k: int | None = None,
) -> Steps[Classification]:
    """Classify images of a collection, or of the default one, by their ids. Raises NotFound.

    The other arguments and the result are as in `classify`.

    >>> answer = client.classify_stored(["tom", "rex"], ["cat", "dog"], collection="pets")
    >>> len(answer.data)
    2
    """
    named = {} if collection is None else {"collection": collection}
    items: list[Json] = [{"id": id, **named} for id in require_list("ids", ids)]
    options = _options(require_list("labels", labels), template, templates, multi_label, top_k)
    return (yield from _classify_items("ids", items, options))


def _classify_items(name: str, items: Sequence[Json], options: Json) -> Steps[Classification]:
    """Classify items of a JSON body, which are called `name` in the call."""
    if not items:
        raise InvalidCall(f"{name} needs at least one")
    answers: list[Classification] = []
    for start in range(0, len(items), MAX_ITEMS):
        body = {"images": list(items[start : start + MAX_ITEMS]), **options}
        with rename_items(name, start):
            request = Request("POST", "/classify", json=body)
            answers.append((yield from _classified(request, answers)))
    return _joined(answers)


def _classified(request: Request, earlier: Sequence[Classification]) -> Steps[Classification]:
    """Send one request of a call. The model of its answer must equal that of earlier answers."""
    answer = yield from result_of(request, Classification)
    same_model(earlier[-1].model if earlier else None, answer.model)
    return answer


def _joined(answers: Sequence[Classification]) -> Classification:
    """Join the answers of one call, whose labels are the same."""
    data = tuple(image for answer in answers for image in answer.data)
    return replace(answers[-1], data=data)


def _options(
    labels: Sequence[str],
    template: str | None,
    templates: Sequence[str] | str | None,
    multi_label: bool,
    top_k: int | None,
) -> Json:
    """Return the options of all images as JSON values, without those that are not given."""
    given: Json = {
        "labels": list(labels),
        "template": template,
        "templates": templates if templates is None or isinstance(templates, str) else list(templates),
        "multi_label": multi_label or None,
        "top_k": top_k,
    }
    return {name: value for name, value in given.items() if value is not None}


def _option_parts(options: Json) -> list[Part]:
    """Return the options as form fields. A list is one JSON value, since form parsers limit fields."""
    return [
        Part(name, utf8(value) if isinstance(value, str) else json_bytes(name, value))
        for name, value in options.items()
    ]


def _image_parts(batch: Sequence[LoadedImage]) -> list[Part]:
    """Return one `image` part for each image. Raises UnreadableFile for the first unreadable one."""
    return [Part("image", loaded.bytes_or_raise(), is_file=True) for loaded in batch]


class EncodingCalls:
    """The calls of this module, as methods of both clients."""

    embed = Call(embed)
    classify = Call(classify)
    classify_embeddings = Call(classify_embeddings)
    classify_stored = Call(classify_stored)

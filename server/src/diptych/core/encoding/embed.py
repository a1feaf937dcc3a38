"""Use case "embed": texts and image files to embeddings, in their order."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from diptych.core.encoding.embedder import Embedder
from diptych.core.fetching.image_urls import ImageUrl, ImageUrls, ReserveBytes
from diptych.core.types import Embedding, ModelInfo, TextEmbedding, TextOutcome
from diptych.errors import DiptychError, EncoderFailed, InputError, InvalidValue

Row = TypeVar("Row")
_SMALLEST_NORM = 1e-12  # the first numbers of an embedding may all be 0


async def embed_items(
    items: Sequence[str | bytes | ImageUrl | Embedding],
    prefix: str,
    *,
    image_urls: ImageUrls,
    embedder: Embedder,
    reserve: ReserveBytes,
) -> list[TextEmbedding]:
    """N texts, image files and image URLs -> N embeddings (D,) in their order; an image is never truncated.

    An item may also be the embedding itself.

    There may be more texts than the text queue has room for, which are then submitted in turns; images must
    fit. Calls `reserve` with the size of each image that it fetches, before it holds the bytes. Raises the
    error of the first bad item, named `prefix[i]`; raises Overloaded and NotReady for the whole request.
    """
    fetched: Sequence[str | bytes | Embedding] = await image_urls.fetched(items, prefix, reserve)
    images = [item for item in fetched if isinstance(item, bytes)]
    texts = [item for item in fetched if isinstance(item, str)]
    if images and texts:
        image_outcomes, text_outcomes = await asyncio.gather(
            embedder.embed_images(images), _embed_texts(texts, embedder)
        )
    else:  # one of the two lists is empty, and a task for each would cost more than it saves
        image_outcomes, text_outcomes = (
            await embedder.embed_images(images),
            await _embed_texts(texts, embedder),
        )
    image_rows, text_rows = iter(image_outcomes), iter(text_outcomes)
    outcomes: list[TextEmbedding | DiptychError] = []
    for item in fetched:
        if isinstance(item, str):
            outcomes.append(next(text_rows))
            continue
        if isinstance(item, np.ndarray):
            outcomes.append(TextEmbedding(item, truncated=False))
            continue
        row = next(image_rows)
        outcomes.append(row if isinstance(row, DiptychError) else TextEmbedding(row, truncated=False))
    return raise_first(outcomes, prefix)


def check_dimensions(model: ModelInfo, requested: int | None, name: str) -> int:
    """The number of dimensions of embeddings: that of the model if None or 0 is requested.

    Raises InvalidValue for a number to which embeddings of this version must not be cut.
    """
    if not requested or requested == model.embed_dim:
        return model.embed_dim
    if requested not in model.matryoshka_dimensions:
        message = f"is {requested}, the model's embeddings have {model.embed_dim} dimensions"
        shorter = ", ".join(map(str, model.matryoshka_dimensions))
        reason = f"may be cut to {shorter}" if shorter else "must not be cut: its version does not allow it"
        raise InvalidValue(f"{message} and {reason}", name)
    return requested


def shortened(rows: Sequence[TextEmbedding], dimensions: int) -> list[TextEmbedding]:
    """The first `dimensions` numbers of each embedding, scaled to unit norm again if that is fewer."""
    if all(len(row.embedding) == dimensions for row in rows):
        return list(rows)
    heads = [row.embedding[:dimensions] for row in rows]
    norms = [max(float(np.linalg.norm(head)), _SMALLEST_NORM) for head in heads]
    return [
        replace(row, embedding=head / np.float32(norm))
        for row, head, norm in zip(rows, heads, norms, strict=True)
    ]


def raise_first(outcomes: Sequence[Row | DiptychError], prefix: str) -> list[Row]:
    """Return the rows, or raise the first error, named such as ``input[3]`` if it concerns one item."""
    rows: list[Row] = []
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, InputError | EncoderFailed):
            raise outcome.named(f"{prefix}[{index}]")
        if isinstance(outcome, DiptychError):
            raise outcome
        rows.append(outcome)
    return rows


async def _embed_texts(texts: Sequence[str], embedder: Embedder) -> list[TextOutcome]:
    """Embed N texts, where N may exceed the capacity of the text queue.

    Submits at most half of the queue's capacity at a time, so that other requests still find room.
    """
    step = max(embedder.max_texts // 2, 1)
    outcomes: list[TextOutcome] = []
    for start in range(0, len(texts), step):
        outcomes += await embedder.embed_texts(texts[start : start + step])
    return outcomes

"""Embed mixed items in their order. Knows nothing of where they come from."""

import asyncio
from collections.abc import Sequence

from diptych.core.encoding.embedder import Embedder
from diptych.core.outcomes import raise_first
from diptych.core.types import TextEmbedding
from diptych.errors import DiptychError


async def embed_items(embedder: Embedder, items: Sequence[str | bytes], prefix: str) -> list[TextEmbedding]:
    """Texts and image files -> one embedding each, in order; an image is never truncated.

    Raises the first item's error, named `prefix[i]`; Overloaded, NotReady for all.
    """
    images = [item for item in items if isinstance(item, bytes)]
    texts = [item for item in items if isinstance(item, str)]
    if images and texts:
        image_outcomes, text_outcomes = await asyncio.gather(
            embedder.embed_images(images), embedder.embed_texts(texts)
        )
    else:  # one of them has nothing to do, and a task for each would cost more than that
        image_outcomes, text_outcomes = await embedder.embed_images(images), await embedder.embed_texts(texts)
    image_rows, text_rows = iter(image_outcomes), iter(text_outcomes)
    outcomes: list[TextEmbedding | DiptychError] = []
    for item in items:
        if isinstance(item, str):
            outcomes.append(next(text_rows))
            continue
        row = next(image_rows)
        outcomes.append(row if isinstance(row, DiptychError) else TextEmbedding(row, truncated=False))
    return raise_first(outcomes, prefix)

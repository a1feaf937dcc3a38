"""Embed many texts without getting in the way of requests."""

import asyncio
import time
from collections.abc import Sequence

from diptych.core.collections.upkeep.reembed import Pace
from diptych.core.encoding.embedder import Embedder
from diptych.core.types import Embedding, TextOutcome
from diptych.errors import DiptychError, InputError, Overloaded

PAGE = 8  # texts at a time; few, so that requests are delayed little


async def text_vectors(embedder: Embedder, texts: Sequence[str], pace: Pace) -> dict[str, Embedding]:
    """Texts -> (D,) each, without those that cannot be embedded. Raises NotReady, EncoderFailed."""
    found: dict[str, Embedding] = {}
    step = min(PAGE, embedder.max_texts)
    for start in range(0, len(texts), step):
        page = texts[start : start + step]
        began, busy_s = time.perf_counter(), embedder.busy_s
        for text, outcome in zip(page, await _outcomes(embedder, page), strict=True):
            if isinstance(outcome, InputError):
                continue
            if isinstance(outcome, DiptychError):
                raise outcome
            found[text] = outcome.embedding
        await pace.pause(time.perf_counter() - began, embedder.busy_s - busy_s)
    return found


async def _outcomes(embedder: Embedder, texts: Sequence[str]) -> Sequence[TextOutcome]:
    """Wait while the queue is full."""
    while True:
        try:
            return await embedder.embed_texts(texts)
        except Overloaded as error:
            await asyncio.sleep(error.retry_after_s)

"""Embed many texts without getting in the way of requests."""

import asyncio
import time
from collections.abc import Sequence

from diptych.core.collections.reembed import Pace
from diptych.core.encoding.pipeline import EncoderPipeline
from diptych.core.types import Embedding, TextOutcome
from diptych.errors import DiptychError, InputError, Overloaded

PAGE = 8  # texts at a time; few, so that requests are delayed little


async def text_vectors(pipeline: EncoderPipeline, texts: Sequence[str], pace: Pace) -> dict[str, Embedding]:
    """Texts -> (D,) each, without those that cannot be embedded. Raises NotReady, EncoderFailed."""
    found: dict[str, Embedding] = {}
    step = min(PAGE, pipeline.embedder.max_texts)
    for start in range(0, len(texts), step):
        page = texts[start : start + step]
        began, busy_s = time.perf_counter(), pipeline.embedder.busy_s
        for text, outcome in zip(page, await _outcomes(pipeline, page), strict=True):
            if isinstance(outcome, InputError):
                continue
            if isinstance(outcome, DiptychError):
                raise outcome
            found[text] = outcome.embedding
        await pace.pause(time.perf_counter() - began, pipeline.embedder.busy_s - busy_s)
    return found


async def _outcomes(pipeline: EncoderPipeline, texts: Sequence[str]) -> Sequence[TextOutcome]:
    """Wait while the queue is full."""
    while True:
        try:
            return await pipeline.embedder.embed_texts(texts)
        except Overloaded as error:
            await asyncio.sleep(error.retry_after_s)

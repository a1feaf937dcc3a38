"""Embed many texts without getting in the way of requests."""

import asyncio
import time
from collections.abc import Sequence

import numpy as np

from diptych.core.classification.label_cache import LabelCache, keys_of
from diptych.core.classification.label_checks import PLACE
from diptych.core.classification.scoring import normalised
from diptych.core.collections.reembed import Pace
from diptych.core.encoding.pipeline import EncoderPipeline
from diptych.core.types import Embedding, TextEmbedding, TextOutcome
from diptych.errors import DiptychError, InputError, Overloaded

PAGE = 8  # texts at a time; few, so that requests are delayed little
MAX_CACHED = 8_192


class TextVectors:
    """Embeds texts and labels a few at a time, and remembers them: versions are compared more than once."""

    def __init__(self) -> None:
        self._cache = LabelCache(MAX_CACHED)

    async def of_texts(
        self, pipeline: EncoderPipeline, texts: Sequence[str], pace: Pace
    ) -> dict[str, Embedding]:
        """Texts -> (D,) each, without those that cannot be embedded. Raises NotReady, EncoderFailed."""
        return await self.of_labels(pipeline, texts, (PLACE,), pace)

    async def of_labels(
        self, pipeline: EncoderPipeline, labels: Sequence[str], templates: Sequence[str], pace: Pace
    ) -> dict[str, Embedding]:
        """Labels -> the mean (D,) over all templates, of unit norm, without labels that cannot be embedded.

        Raises NotReady, EncoderFailed.
        """
        keys = dict(zip(labels, keys_of(pipeline.model.identity, templates, labels), strict=True))
        known = self._cache.get_many(list(keys.values()))
        found = {label: known[key].embedding for label, key in keys.items() if key in known}
        missing = [label for label in keys if label not in found]
        step = max(PAGE // len(templates), 1)
        for start in range(0, len(missing), step):
            rows = await _embed(pipeline, missing[start : start + step], templates, pace)
            self._cache.put_many({keys[label]: TextEmbedding(row, False) for label, row in rows.items()})
            found |= rows
        return found


async def _embed(
    pipeline: EncoderPipeline, labels: Sequence[str], templates: Sequence[str], pace: Pace
) -> dict[str, Embedding]:
    texts = [template.replace(PLACE, label) for label in labels for template in templates]
    rows: list[Embedding | None] = []
    step = min(PAGE, pipeline.embedder.max_texts)
    for start in range(0, len(texts), step):
        began, busy_s = time.perf_counter(), pipeline.embedder.busy_s
        rows += await _embed_patiently(pipeline, texts[start : start + step])
        await pace.pause(time.perf_counter() - began, pipeline.embedder.busy_s - busy_s)
    found: dict[str, Embedding] = {}
    for n, label in enumerate(labels):
        of_label = rows[n * len(templates) : (n + 1) * len(templates)]
        whole = [row for row in of_label if row is not None]
        if len(whole) == len(templates):
            found[label] = normalised(np.sum(whole, axis=0, dtype=np.float32))
    return found


async def _embed_patiently(pipeline: EncoderPipeline, texts: Sequence[str]) -> list[Embedding | None]:
    """Wait while the queue is full. None for a text that cannot be embedded."""
    while True:
        try:
            outcomes = await pipeline.embedder.embed_texts(texts)
        except Overloaded as error:
            await asyncio.sleep(error.retry_after_s)
        else:
            return [_row(outcome) for outcome in outcomes]


def _row(outcome: TextOutcome) -> Embedding | None:
    if isinstance(outcome, InputError):
        return None
    if isinstance(outcome, DiptychError):
        raise outcome
    return outcome.embedding

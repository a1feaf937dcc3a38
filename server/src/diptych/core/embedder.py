"""Embed images and texts; knows nothing of HTTP, of collections or of what runs the model."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from diptych.bundle.encoder import ImageEncoder, TextEncoder
from diptych.core.admission import Admission
from diptych.core.batcher import Batcher
from diptych.core.distinct import distinct
from diptych.core.ports import Decoder, Metrics, Tokenizer
from diptych.core.timing import stage
from diptych.core.types import (
    Embedding,
    Embeddings,
    InputIds,
    Outcome,
    Pixels,
    TextEmbedding,
    TextOutcome,
)
from diptych.errors import DiptychError, InputError, Overloaded

Work = TypeVar("Work")


class Embedder:
    """The straight line from bytes or words to embeddings of the served model.

    `admission` bounds the images from before they are decoded until they are embedded. It should let in no
    more items than the image batcher does: then nothing is decoded only to be refused there.
    """

    def __init__(
        self,
        *,
        decoder: Decoder,
        tokenizer: Tokenizer,
        images: Batcher[Pixels],
        texts: Batcher[InputIds],
        admission: Admission,
        metrics: Metrics,
    ) -> None:
        self._decoder = decoder
        self._tokenizer = tokenizer
        self._images = images
        self._texts = texts
        self._admission = admission
        self._metrics = metrics

    async def embed_image(self, payload: bytes) -> Embedding:
        """The bytes of an image file -> (D,). Raises InputError, Overloaded, NotReady, EncoderFailed."""
        (outcome,) = await self.embed_images([payload])
        return _row(outcome)

    async def embed_images(self, payloads: Sequence[bytes]) -> list[Outcome]:
        """N files -> N outcomes in their order; one bad item never fails another.

        Raises Overloaded, TooLarge or NotReady for all of them, before any is decoded when there is no room.
        """
        if not payloads:
            return []
        try:
            with self._admission.hold(len(payloads), sum(map(len, payloads))):
                n_inside, began = self._admission.n_items, time.perf_counter()
                pixels = await asyncio.gather(*map(self._decode, payloads))  # N of (S, S, 3) or error
                outcomes = await _submit(self._images, pixels)
                # First come, first served: in this time all that was inside came through (Little's law).
                self._admission.measured(n_inside, time.perf_counter() - began)
                return outcomes
        except Overloaded:
            self._metrics.count_rejected("decode_full")
            raise

    async def embed_text(self, text: str) -> TextEmbedding:
        """One text -> (D,). The empty text has an embedding too. Raises as embed_image."""
        (outcome,) = await self.embed_texts([text])
        return _row(outcome)

    async def embed_texts(self, texts: Sequence[str]) -> list[TextOutcome]:
        """N texts -> N outcomes in their order. Raises Overloaded, TooLarge or NotReady for all of them."""
        if not texts:
            return []
        tokens = await asyncio.to_thread(self._tokenize, texts)  # N of (L,) or error, and whether truncated
        outcomes = await _submit(self._texts, [ids for ids, _ in tokens])
        return [
            outcome if isinstance(outcome, DiptychError) else TextEmbedding(outcome, truncated, _count(ids))
            for outcome, (ids, truncated) in zip(outcomes, tokens, strict=True)
        ]

    @property
    def max_images(self) -> int:
        """The most images that one `embed_images` may bring."""
        return min(self._admission.max_items, self._images.max_items)

    @property
    def max_texts(self) -> int:
        """The most texts that one `embed_texts` may bring."""
        return self._texts.max_items

    async def close(self) -> None:
        """Fail all that waits with NotReady."""
        await asyncio.gather(self._images.close(), self._texts.close())

    async def _decode(self, payload: bytes) -> Pixels | DiptychError:
        try:
            with stage(self._metrics, "decode"):
                return await self._decoder.decode(payload)
        except InputError as error:
            return error

    def _tokenize(self, texts: Sequence[str]) -> list[tuple[InputIds | DiptychError, bool]]:
        return [self._token_ids(text) for text in texts]

    def _token_ids(self, text: str) -> tuple[InputIds | DiptychError, bool]:
        try:
            return self._tokenizer.ids(text)
        except InputError as error:
            return error, False


def image_batch(encoder: ImageEncoder) -> Callable[[Sequence[Pixels]], Embeddings]:
    """What the image batcher runs: B images (S, S, 3) -> (B, D)."""
    return distinct(lambda images: encoder.encode_image(np.stack(images)))


def text_batch(
    encoder: TextEncoder, pad: Callable[[Sequence[InputIds]], InputIds]
) -> Callable[[Sequence[InputIds]], Embeddings]:
    """What the text batcher runs: B unpadded texts (L,) -> padded (B, L) -> (B, D)."""
    return distinct(lambda texts: encoder.encode_text(pad(texts)))


async def _submit(batcher: Batcher[Work], prepared: Sequence[Work | DiptychError]) -> list[Outcome]:
    """Send on what could be prepared; the others' errors are their outcomes."""
    good = [one for one in prepared if not isinstance(one, DiptychError)]
    rows = iter(await batcher.submit_many(good))
    return [one if isinstance(one, DiptychError) else next(rows) for one in prepared]


def _count(ids: InputIds | DiptychError) -> int:
    return 0 if isinstance(ids, DiptychError) else len(ids)


def _row(outcome: Work | DiptychError) -> Work:
    if isinstance(outcome, DiptychError):
        raise outcome
    return outcome

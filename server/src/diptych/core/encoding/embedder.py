"""From bytes or words to embeddings: decode or tokenise, queue, encode."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.encoder import OnStart, StoppableEncoder
from diptych.core.concurrency.admission import Admission
from diptych.core.concurrency.fair_executor import FairExecutor
from diptych.core.encoding.batcher import Batcher
from diptych.core.encoding.weighed_cache import WeighedCache
from diptych.core.ports import Metrics
from diptych.core.timing import BusyClock, note
from diptych.core.types import (
    DecodedImage,
    Embedding,
    Embeddings,
    InputIds,
    Outcome,
    Pixels,
    TextEmbedding,
    TextOutcome,
)
from diptych.errors import DiptychError, EncoderFailed, InputError, Overloaded

Array = TypeVar("Array", bound=NDArray[Any])
RECENT_BYTES = 8 << 20  # of texts with their embeddings: a few thousand queries
N_SAMPLES = 64  # bytes that tell most items apart; hashing a whole image would cost 0.1 ms


def deduplicated(
    encode: Callable[[Sequence[Array], OnStart], Embeddings],
) -> Callable[[Sequence[Array], OnStart], Embeddings]:
    """Wrap `encode` so that equal items of a batch are encoded once: N items -> (N, D)."""

    def encode_unique(items: Sequence[Array], on_start: OnStart) -> Embeddings:
        firsts, places = first_of_each(items)
        if len(firsts) == len(items):
            return encode(items, on_start)
        rows = encode([items[first] for first in firsts], on_start)  # (number of distinct items, D)
        if len(rows) != len(firsts):  # it might equal the number of all items by chance
            raise EncoderFailed(f"the encoder answered {len(rows)} rows to {len(firsts)} items")
        return rows[places]

    return encode_unique


def first_of_each(items: Sequence[NDArray[Any]]) -> tuple[list[int], list[int]]:
    """Return the index of the first item of each group of equal items, and the group of every item."""
    firsts: list[int] = []
    places: list[int] = []
    alike: dict[tuple[Any, ...], list[int]] = {}  # groups whose sampled bytes are equal
    for index, item in enumerate(items):
        candidates = alike.setdefault(_sample(item), [])
        place = next((p for p in candidates if np.array_equal(items[firsts[p]], item)), None)
        if place is None:
            place = len(firsts)
            firsts.append(index)
            candidates.append(place)
        places.append(place)
    return firsts, places


def _sample(item: NDArray[Any]) -> tuple[Any, ...]:
    flat = item.ravel()
    return item.shape, flat[:: max(1, len(flat) // N_SAMPLES)].tobytes()


Work = TypeVar("Work")

# Called with the infos of N files once all are decoded; None for a file that cannot be decoded.
OnDecoded = Callable[[Sequence[DecodedImage | None]], None]


class Decoder(Protocol):
    """Decodes image files into what the encoder sees, off the event loop. Calls take turns."""

    async def decode_many(
        self, payloads: Sequence[bytes], on_decoded: Callable[[float], None], *, alone: bool = False
    ) -> list[DecodedImage | InputError]:
        """Decode N files to N images of (S, S, 3), or UnsupportedImage, UndecodableImage, TooLarge for each.

        `on_decoded` is called for each image, in any thread, with the seconds that it took. `alone`: the
        caller has no other image in work, so idle threads may help with this one.
        """
        ...


class Tokenizer(Protocol):
    """Turns one text into token ids."""

    def ids(self, text: str) -> tuple[InputIds, bool]:
        """Return (L,) int32 unpadded, and whether the text was truncated. Raises InvalidValue. Runs off the
        loop.
        """
        ...


class Embedder:
    """Embeds images and texts with one precision of the served model.

    `image_admission` bounds images from before they are decoded until they are embedded, `text_admission`
    bounds texts from before they are tokenised. Requests take turns at being tokenised, text by text; texts
    of a caller that has left are not tokenised any more. An image that arrives while no other is in work may
    be decoded by several threads.
    """

    def __init__(
        self,
        *,
        decoder: Decoder,
        tokenizer: Tokenizer,
        images: Batcher[Pixels],
        texts: Batcher[InputIds],
        image_admission: Admission,
        text_admission: Admission,
        metrics: Metrics,
    ) -> None:
        self._decoder = decoder
        self._tokenizer = tokenizer
        self._images = images
        self._texts = texts
        self._image_admission = image_admission
        self._text_admission = text_admission
        self._metrics = metrics
        self._clock = BusyClock()
        self._recent: WeighedCache[str, TextEmbedding] = WeighedCache(RECENT_BYTES)
        self._tokenizing = FairExecutor(
            "tokenize", 1
        )  # more threads would only wait for each other: tokenising holds the GIL

    async def embed_image(self, payload: bytes) -> Embedding:
        """Embed the bytes of one image file: (D,). Raises InputError, Overloaded, NotReady, EncoderFailed."""
        (outcome,) = await self.embed_images([payload])
        return _row(outcome)

    async def embed_images(
        self, payloads: Sequence[bytes], on_decoded: OnDecoded | None = None
    ) -> list[Outcome]:
        """Embed N image files and return N outcomes in order; a bad item never fails another.

        `on_decoded` is called before the images are encoded; work that it starts runs during encoding. Raises
        Overloaded, TooLarge or NotReady for the whole call, before decoding anything if there is no room.
        """
        if not payloads:
            return []
        try:
            with self._image_admission.hold(len(payloads), sum(map(len, payloads))), self._clock.busy():
                began = time.perf_counter()
                alone = self._image_admission.n_items == 1
                images = await self._decoder.decode_many(payloads, self._report_decode_time, alone=alone)
                note("decode", began, time.perf_counter())
                if on_decoded is not None:
                    on_decoded([None if isinstance(one, DiptychError) else one for one in images])
                pixels = [one if isinstance(one, DiptychError) else one.pixels for one in images]
                del images
                return await _submit(self._images, pixels)
        except Overloaded:
            self._metrics.count_rejected("decode_full")
            raise

    async def decode_images(self, payloads: Sequence[bytes]) -> list[DecodedImage | InputError]:
        """Decode N image files as for embedding them; a bad item fails alone. Raises as embed_images."""
        with self._image_admission.hold(len(payloads), sum(map(len, payloads))):
            return await self._decoder.decode_many(payloads, self._report_decode_time)

    async def embed_text(self, text: str) -> TextEmbedding:
        """Embed one text: (D,). The empty text has an embedding, too. Raises as embed_image.

        Embeddings of recent texts are kept: typing, paging and sorting repeat a query.
        """
        known = self._recent.get(text)
        if known is not None:
            return known
        (outcome,) = await self.embed_texts([text])
        found = _row(outcome)
        kept = replace(found, embedding=found.embedding.copy())  # not a view, which keeps its whole batch
        self._recent.put(text, kept, kept.embedding.nbytes + 4 * len(text))
        return kept

    async def embed_texts(self, texts: Sequence[str]) -> list[TextOutcome]:
        """Embed N texts and return N outcomes in order. Raises Overloaded, TooLarge or NotReady for all of
        them.
        """
        if not texts:
            return []
        try:
            with self._text_admission.hold(len(texts), sum(map(len, texts))), self._clock.busy():
                pieces = [partial(self._token_ids, text) for text in texts]
                tokens = await self._tokenizing.run(
                    pieces, wait_for_running=True
                )  # N of ((L,) or error, truncated)
                outcomes = await _submit(self._texts, [ids for ids, _ in tokens])
        except Overloaded:
            self._metrics.count_rejected("tokenize_full")
            raise
        return [
            outcome
            if isinstance(outcome, DiptychError)
            else TextEmbedding(outcome, truncated, _n_tokens(ids))
            for outcome, (ids, truncated) in zip(outcomes, tokens, strict=True)
        ]

    @property
    def max_images(self) -> int:
        """The largest number of images that one `embed_images` call may bring."""
        return self._image_admission.max_items

    @property
    def max_texts(self) -> int:
        """The largest number of texts that one `embed_texts` call may bring."""
        return self._text_admission.max_items

    @property
    def busy_s(self) -> float:
        """Seconds so far in which images or texts waited or were embedded."""
        return self._clock.total_s

    async def close(self) -> None:
        """Fail all waiting items with NotReady."""
        await asyncio.gather(self._images.close(), self._texts.close())

    def _report_decode_time(self, seconds: float) -> None:
        self._metrics.observe_stage("decode", seconds)

    def _token_ids(self, text: str) -> tuple[InputIds | DiptychError, bool]:
        try:
            return self._tokenizer.ids(text)
        except InputError as error:
            return error, False


def image_batch_encoder(encoder: StoppableEncoder) -> Callable[[Sequence[Pixels], OnStart], Embeddings]:
    """The function that the image batcher runs: B images (S, S, 3) -> (B, D)."""
    return deduplicated(lambda images, on_start: encoder.encode_image(np.stack(images), on_start))


def text_batch_encoder(
    encoder: StoppableEncoder, pad: Callable[[Sequence[InputIds]], InputIds]
) -> Callable[[Sequence[InputIds], OnStart], Embeddings]:
    """The function that the text batcher runs: B unpadded texts (L,) -> padded (B, L) -> (B, D)."""
    return deduplicated(lambda texts, on_start: encoder.encode_text(pad(texts), on_start))


async def _submit(batcher: Batcher[Work], prepared: Sequence[Work | DiptychError]) -> list[Outcome]:
    """Submit the items that could be prepared; the errors of the others are their outcomes."""
    good = [one for one in prepared if not isinstance(one, DiptychError)]
    rows = iter(await batcher.submit_many(good))
    return [one if isinstance(one, DiptychError) else next(rows) for one in prepared]


def _n_tokens(ids: InputIds | DiptychError) -> int:
    return 0 if isinstance(ids, DiptychError) else len(ids)


def _row(outcome: Work | DiptychError) -> Work:
    if isinstance(outcome, DiptychError):
        raise outcome
    return outcome

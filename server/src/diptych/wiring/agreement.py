"""Hold an encoder against the one that serves, in every shape that it will run in. Knows no devices."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from diptych.bundle.encoder import Embeddings, InputIds, Pixels, StoppableEncoder
from diptych.bundle.manifest import COSINE_BOUNDS
from diptych.bundle.parity import MIN_BATCH_COSINE
from diptych.bundle.text import pad
from diptych.core.plan import sizes_up_to
from diptych.errors import GoldenMismatch
from diptych.wiring.bundles import LoadedBundle


@dataclass(frozen=True)
class _Batch:
    """Items of one tower by number, and what encodes them."""

    name: str
    items: Sequence[int]
    encode: Callable[[StoppableEncoder], Embeddings]


def require_agreement(loaded: LoadedBundle, candidate: StoppableEncoder) -> None:
    """Raises GoldenMismatch, naming item, shape, cosine and bound; EncoderFailed.

    The candidate's rows are as near to those of `loaded` as its precision may be to the model, whatever the
    shape, and those of one item the same in all shapes. That runs each shape once, too.
    """
    bound = COSINE_BOUNDS[loaded.precision]
    seen: dict[tuple[str, int], Embeddings] = {}
    for batch in (*_images(loaded), *_texts(loaded)):
        expected, found = batch.encode(loaded.encoder), batch.encode(candidate)
        for item, wanted, row in zip(batch.items, expected, found, strict=True):
            named = f"{batch.name}, item {item}"
            _require(named, "the one that serves", _cosine(row, wanted), bound)
            first = seen.setdefault((batch.name.partition(" ")[0], item), row)
            _require(named, "itself in another shape", _cosine(row, first), MIN_BATCH_COSINE)


def _images(loaded: LoadedBundle) -> Iterator[_Batch]:
    pixels = loaded.bundle.golden.pixels  # (N, S, S, 3)
    for size in sizes_up_to(loaded.plan.image_batch_size):
        items = [n % len(pixels) for n in range(size)]
        yield _Batch(f"images in a batch of {size}", items, partial(_encode_images, pixels[items]))


def _texts(loaded: LoadedBundle) -> Iterator[_Batch]:
    """The golden texts, a short one and one as long as there may be, in each length that they fit into."""
    spec, tokenizer = loaded.bundle.manifest.text, loaded.bundle.tokenizer
    texts = ["a", *loaded.bundle.golden.texts, "a " * spec.context_length]
    ids = [tokenizer.ids(text)[0] for text in texts]
    for length in loaded.encoder.text_lengths or (spec.context_length,):
        fitting = [n for n, row in enumerate(ids) if len(row) <= length]
        if not fitting:
            continue
        for size in sizes_up_to(loaded.plan.text_batch_size):
            items = [fitting[n % len(fitting)] for n in range(size)]
            batch = _filled(pad([ids[n] for n in items], spec), length, spec.pad_id)
            yield _Batch(
                f"texts of {length} tokens in a batch of {size}",
                items,
                partial(_encode_texts, batch),
            )


def _encode_images(pixels: Pixels, encoder: StoppableEncoder) -> Embeddings:
    return encoder.encode_image(pixels)


def _encode_texts(input_ids: InputIds, encoder: StoppableEncoder) -> Embeddings:
    return encoder.encode_text(input_ids)


def _filled(input_ids: InputIds, length: int, pad_id: int) -> InputIds:
    """(B, L) -> (B, `length`)"""
    return np.pad(input_ids, ((0, 0), (0, length - input_ids.shape[1])), constant_values=pad_id)


def _cosine(one: Embeddings, other: Embeddings) -> float:
    product = np.dot(one.astype(np.float64), other)
    return float(product / (np.linalg.norm(one) * np.linalg.norm(other)))


def _require(named: str, whom: str, cosine: float, bound: float) -> None:
    if not cosine >= bound:  # written so that NaN fails
        raise GoldenMismatch(f"{named}: cosine to {whom} is {cosine:.6f}, bound is {bound}")

"""Batches of the golden items of a bundle, one for each shape that an encoder runs in."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from diptych.bundle.encoder import InputIds, Pixels
from diptych.bundle.text.tokenizer import pad
from diptych.core.tuning.execution_layout import sizes_up_to
from diptych.wiring.loading.bundles import LoadedBundle

B = TypeVar("B", Pixels, InputIds)


@dataclass(frozen=True)
class ShapedBatch(Generic[B]):
    """A batch of one tower. `items` are the numbers of its items, which are the same in all shapes."""

    name: str
    items: Sequence[int]
    batch: B


def image_batches(loaded: LoadedBundle) -> Iterator[ShapedBatch[Pixels]]:
    """Yield batches of each size, filled with the golden images over and over."""
    pixels = loaded.bundle.golden.pixels  # (N, S, S, 3)
    for size in sizes_up_to(loaded.plan.image_batch_size):
        items = [n % len(pixels) for n in range(size)]
        yield ShapedBatch(f"images in a batch of {size}", items, pixels[items])


def text_batches(loaded: LoadedBundle) -> Iterator[ShapedBatch[InputIds]]:
    """Yield batches of each length and size: the golden texts, a short text, and the longest possible text.

    A text is in the batches of every length that it fits into.
    """
    spec, tokenizer = loaded.bundle.manifest.text, loaded.bundle.tokenizer
    texts = ["a", *loaded.bundle.golden.texts, "a " * spec.context_length]
    ids = [tokenizer.ids(text)[0] for text in texts]
    for length in loaded.encoder.text_lengths or (spec.context_length,):
        fitting = [n for n, row in enumerate(ids) if len(row) <= length]
        if not fitting:
            continue
        for size in sizes_up_to(loaded.plan.text_batch_size):
            items = [fitting[n % len(fitting)] for n in range(size)]
            batch = _padded(pad([ids[n] for n in items], spec), length, spec.pad_id)
            yield ShapedBatch(f"texts of {length} tokens in a batch of {size}", items, batch)


def _padded(input_ids: InputIds, length: int, pad_id: int) -> InputIds:
    """Pad (B, L) to (B, `length`)."""
    return np.pad(input_ids, ((0, 0), (0, length - input_ids.shape[1])), constant_values=pad_id)

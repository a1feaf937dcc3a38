"""Batches of real items that fill each shape that an encoder runs in. Knows nothing of what they are for."""

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
class Shaped(Generic[B]):
    """A batch of one tower, and its items by number: the same item has the same number in all shapes."""

    name: str
    items: Sequence[int]
    batch: B


def image_batches(loaded: LoadedBundle) -> Iterator[Shaped[Pixels]]:
    """The golden images over and over, in batches of each size."""
    pixels = loaded.bundle.golden.pixels  # (N, S, S, 3)
    for size in sizes_up_to(loaded.plan.image_batch_size):
        items = [n % len(pixels) for n in range(size)]
        yield Shaped(f"images in a batch of {size}", items, pixels[items])


def text_batches(loaded: LoadedBundle) -> Iterator[Shaped[InputIds]]:
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
            yield Shaped(f"texts of {length} tokens in a batch of {size}", items, batch)


def _filled(input_ids: InputIds, length: int, pad_id: int) -> InputIds:
    """(B, L) -> (B, `length`)"""
    return np.pad(input_ids, ((0, 0), (0, length - input_ids.shape[1])), constant_values=pad_id)

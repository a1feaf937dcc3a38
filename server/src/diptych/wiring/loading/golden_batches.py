"""Batches of the golden items of a bundle, one for each of the shapes that stand for all shapes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from diptych.bundle.encoder import InputIds, Pixels
from diptych.bundle.text.tokenizer import pad
from diptych.core.tuning.execution_layout import lengths_up_to, sizes_up_to
from diptych.wiring.loading.bundles import VerifiedBundle

B = TypeVar("B", Pixels, InputIds)


@dataclass(frozen=True)
class ShapedBatch(Generic[B]):
    """A batch of one tower. `items` are the numbers of its items, which are the same in all shapes."""

    name: str
    items: Sequence[int]
    batch: B


def image_batches(bundle: VerifiedBundle, largest: int) -> Iterator[ShapedBatch[Pixels]]:
    """Yield batches of sizes up to `largest`, filled with the golden images over and over."""
    pixels = bundle.golden.pixels  # (N, S, S, 3)
    for size in sizes_up_to(largest):
        items = [n % len(pixels) for n in range(size)]
        yield ShapedBatch(f"images in a batch of {size}", items, pixels[items])


def text_batches(bundle: VerifiedBundle, largest: int) -> Iterator[ShapedBatch[InputIds]]:
    """Yield batches of several lengths, of sizes up to `largest`: golden texts, a short and the longest text.

    The golden texts come first. A text is in the batches of every length that it fits into.
    """
    spec, tokenizer = bundle.manifest.text, bundle.tokenizer
    texts = [*bundle.golden.texts, "a", "a " * spec.context_length]
    ids = [tokenizer.ids(text)[0] for text in texts]
    lengths = lengths_up_to(spec.context_length) if spec.pad_to == "longest" else (spec.context_length,)
    for length in lengths:
        fitting = [n for n, row in enumerate(ids) if len(row) <= length]
        if not fitting:
            continue
        for size in sizes_up_to(largest):
            items = [fitting[n % len(fitting)] for n in range(size)]
            batch = _padded(pad([ids[n] for n in items], spec), length, spec.pad_id)
            yield ShapedBatch(f"texts of {length} tokens in a batch of {size}", items, batch)


def _padded(input_ids: InputIds, length: int, pad_id: int) -> InputIds:
    """Pad (B, L) to (B, `length`)."""
    return np.pad(input_ids, ((0, 0), (0, length - input_ids.shape[1])), constant_values=pad_id)

"""Draw the real images and texts that an export is proven on; knows nothing of models."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.encoder import Pixels
from diptych_training.data.packed import PackedDataset, PackedSource, Split
from diptych_training.evaluate.answers import Accepted, accepted_labels


@dataclass(frozen=True)
class Sample:
    """`images` (N, H, W, 3) uint8 RGB with the labels that are right for each, and the M distinct labels."""

    images: Pixels
    accepted: Accepted
    texts: list[str]


def draw_sample(
    dataset: PackedDataset, n_images: int, seed: int = 0, splits: Sequence[Split] | None = None
) -> Sample:
    """Up to `n_images` images of the splits (of those held out), about as many from every source.

    The same ones every time.
    """
    rng = np.random.default_rng(seed)
    chosen = held_out(dataset, n_images) if splits is None else splits
    sources = [source for split in chosen for source in dataset.sources(split)]
    counts = even_shares([len(source.items) for source in sources], n_images)
    parts = [_draw(source, count, rng) for source, count in zip(sources, counts, strict=True) if count]
    accepted = [labels for _, labels_of in parts for labels in labels_of]
    images = np.concatenate([pixels for pixels, _ in parts]) if parts else np.zeros((0, 1, 1, 3), np.uint8)
    return Sample(images, accepted, sorted(frozenset().union(*accepted)))


def held_out(dataset: PackedDataset, n_images: int) -> Sequence[Split]:
    """Splits that no model trained on: validation where it has enough images, else both.

    Eval is for final tables: where it can be spared, it decides nothing of an export.
    """
    enough = sum(entry.n for _, entry in dataset.listed("validation")) >= n_images
    return ("validation",) if enough else ("eval", "validation")


def even_shares(available: list[int], wanted: int) -> list[int]:
    """How many to take from each: equal shares, and what small ones cannot give is taken from the others."""
    shares = [0] * len(available)
    smallest_first = sorted(range(len(available)), key=lambda index: available[index])
    left = min(wanted, sum(available))
    for done, index in enumerate(smallest_first):
        shares[index] = min(available[index], -(-left // (len(available) - done)))
        left -= shares[index]
    return shares


def _draw(source: PackedSource, count: int, rng: np.random.Generator) -> tuple[Pixels, Accepted]:
    chosen: NDArray[np.int64] = np.sort(rng.choice(len(source.items), count, replace=False))
    images = np.stack([source.images[index] for index in chosen])
    return images, accepted_labels(images, [source.items[index].label for index in chosen])

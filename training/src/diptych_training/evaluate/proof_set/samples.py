"""Draw the images and texts of a packed data set on which an export is proven."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.encoder import Pixels
from diptych.bundle.parity import MIN_IMAGES, MIN_TEXTS
from diptych_training.data.packed import PackedDataset, PackedSource, Split
from diptych_training.errors import TooFewSamples
from diptych_training.evaluate.ranking import Accepted, accepted_labels

N_PARITY_IMAGES = 1200  # a manifest needs at least 1,000


@dataclass(frozen=True)
class Sample:
    """`images` (N, H, W, 3) uint8 RGB, the labels accepted for each, and the M distinct labels."""

    images: Pixels
    accepted: Accepted
    texts: list[str]


def draw_sample(
    dataset: PackedDataset, n_images: int, seed: int = 0, splits: Sequence[Split] | None = None
) -> Sample:
    """Up to `n_images` images of the splits (default: held out), about as many from every source.

    Always the same ones. The data set's further texts are added to the labels of held-out images.
    """
    drawn = _drawn(dataset, n_images, seed, splits)
    parts = [np.stack([source.images[index] for index in chosen]) for source, chosen in drawn]
    accepted = [
        labels
        for images, (source, chosen) in zip(parts, drawn, strict=True)
        for labels in accepted_labels(images, [source.items[index].label for index in chosen])
    ]
    images = np.concatenate(parts) if parts else np.zeros((0, 1, 1, 3), np.uint8)
    further = dataset.texts if splits is None else ()
    return Sample(images, accepted, sorted(frozenset(further).union(*accepted)))


def count_sample(dataset: PackedDataset, n_images: int) -> tuple[int, int]:
    """Numbers of images and distinct texts that `draw_sample` gives for held-out splits; reads no image."""
    drawn = _drawn(dataset, n_images)
    labels = [source.items[index].label for source, chosen in drawn for index in chosen]
    return len(labels), len({*labels, *dataset.texts})


def held_out(dataset: PackedDataset, n_images: int) -> Sequence[Split]:
    """Splits that no model trains on: validation if it has enough images, else also eval, if there is one.

    Eval is reserved for final tables, and decides nothing about an export if it can be avoided.
    """
    enough = sum(entry.n for _, entry in dataset.listed("validation")) >= n_images
    return ("validation",) if enough or not dataset.listed("eval") else ("eval", "validation")


def even_shares(available: list[int], wanted: int) -> list[int]:
    """How many to take from each source: equal shares; the others make up for small ones."""
    shares = [0] * len(available)
    smallest_first = sorted(range(len(available)), key=lambda index: available[index])
    left = min(wanted, sum(available))
    for done, index in enumerate(smallest_first):
        shares[index] = min(available[index], -(-left // (len(available) - done)))
        left -= shares[index]
    return shares


def shortage(dataset: PackedDataset) -> str | None:
    """Why the data set is too small for a proof, and what to do; None if it is large enough."""
    n_images, n_texts = count_sample(dataset, N_PARITY_IMAGES)
    if n_images >= MIN_IMAGES and n_texts >= MIN_TEXTS:
        return None
    return (
        f"{dataset.path} has too few samples to prove an export on: {n_images:,} held-out images with "
        f"{n_texts:,} texts, at least {MIN_IMAGES:,} and {MIN_TEXTS} are needed. Pack more with `data pack "
        "--validation` or `--eval`, or prove the export on another data set with `export --data DIR` "
        "(`data pictograms` builds one). `export --ungated` publishes without a sufficient proof; servers "
        "skip such a version unless started with --allow-ungated"
    )


def require_enough(dataset: PackedDataset) -> None:
    """Raise TooFewSamples if the data set is too small for a proof."""
    reason = shortage(dataset)
    if reason is not None:
        raise TooFewSamples(reason)


def _drawn(
    dataset: PackedDataset, n_images: int, seed: int = 0, splits: Sequence[Split] | None = None
) -> list[tuple[PackedSource, NDArray[np.int64]]]:
    """Sources with the positions of the items drawn from each."""
    rng = np.random.default_rng(seed)
    chosen = held_out(dataset, n_images) if splits is None else splits
    sources = [source for split in chosen for source in dataset.sources(split)]
    counts = even_shares([len(source.items) for source in sources], n_images)
    return [
        (source, np.sort(rng.choice(len(source.items), count, replace=False)))
        for source, count in zip(sources, counts, strict=True)
        if count
    ]

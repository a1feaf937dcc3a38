"""Samples of held-out sources: the same names and pictures for every model."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeVar

import numpy as np

from diptych.bundle.encoder import Pixels
from diptych_training.data.packed import PackedDataset, PackedSource
from diptych_training.evaluate.ranking import Accepted, accepted_labels

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class SampledSource:
    """Pictures of a source and the names among which each is to be found."""

    name: str
    images: Pixels  # (N, S, S, 3)
    accepted: Accepted
    classes: tuple[str, ...]


def sampled_sources(dataset: PackedDataset, split: str, names: int, pictures: int) -> Iterator[SampledSource]:
    """Each source of a split with at most so many names and pictures, drawn by the name of the source."""
    for source in dataset.sources(split):
        yield sampled(source, names, pictures)


def sampled(source: PackedSource, names: int, pictures: int) -> SampledSource:
    """Draw names, then pictures that have one of them."""
    rng = np.random.default_rng(int.from_bytes(sha256(source.name.encode()).digest()[:8], "big"))
    labels = [item.label for item in source.items]
    classes = _drawn(sorted(set(labels)), names, rng)
    shown = set(classes)
    chosen = _drawn([index for index, label in enumerate(labels) if label in shown], pictures, rng)
    accepted = accepted_labels(source.images, labels)
    return SampledSource(
        source.name, source.images[chosen], [accepted[index] for index in chosen], tuple(classes)
    )


def _drawn(entries: list[Entry], n: int, rng: np.random.Generator) -> list[Entry]:
    """At most n of the entries, in their order."""
    chosen = np.sort(rng.permutation(len(entries))[:n])
    return [entries[index] for index in chosen]

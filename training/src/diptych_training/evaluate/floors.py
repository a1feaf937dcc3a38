"""Pixel floors: the accuracy of the nearest training image by pixels, without any learning."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diptych_training.data.colour_grid import Rows, colour_grids
from diptych_training.data.packed import PackedDataset, PackedSource
from diptych_training.evaluate.embedding import Advance
from diptych_training.evaluate.ranking import accepted_labels
from diptych_training.evaluate.validation import source_classes

CHUNK = 512


@dataclass(frozen=True)
class _Gallery:
    """All training images of one kind: (M, GRID * GRID * 3) of unit norm, and their M labels."""

    rows: Rows
    labels: NDArray[np.str_]


def pixel_floors(
    dataset: PackedDataset, sources: Sequence[PackedSource], advance: Advance
) -> dict[str, float]:
    """Top-1 of each source by the nearest training image of the same kind, among those of the source's
    classes, by name.

    Nearest by cosine of the images' colour grids around their mean. Sources of a kind without training images
    get no floor. `advance` is called with the number of images done.
    """
    floors: dict[str, float] = {}
    for kind in sorted({source.kind for source in sources}):
        training = dataset.sources("train", kind)
        if training:
            gallery = _gallery(training)
            of_kind = [source for source in sources if source.kind == kind]
            floors |= {source.name: _floor(source, gallery, advance) for source in of_kind}
    return floors


def _floor(source: PackedSource, gallery: _Gallery, advance: Advance) -> float:
    candidates = np.isin(gallery.labels, source_classes(source))  # (M,)
    rows, labels = gallery.rows[candidates], gallery.labels[candidates]
    accepted = accepted_labels(source.images, [item.label for item in source.items])
    n_right = 0
    for start in range(0, len(accepted), CHUNK):
        grids = colour_grids(source.images[start : start + CHUNK])  # (B, F)
        if len(rows):
            nearest = labels[(grids @ rows.T).argmax(axis=1)]  # (B,)
            answers = zip(nearest, accepted[start : start + CHUNK], strict=True)
            n_right += sum(label in right for label, right in answers)
        advance(len(grids))
    return n_right / len(accepted)


def _gallery(training: Sequence[PackedSource]) -> _Gallery:
    rows = np.concatenate([_source_grids(source) for source in training])
    return _Gallery(rows, np.array([item.label for source in training for item in source.items]))


def _source_grids(source: PackedSource) -> Rows:
    starts = range(0, len(source.images), CHUNK)
    return np.concatenate([colour_grids(source.images[start : start + CHUNK]) for start in starts])

"""Find training images that are near duplicates of evaluation images.

Two images are near duplicates if their grids of 16 x 16 mean colours, each minus the image's mean, have a
cosine of at least a threshold. This ignores size, file format, compression, brightness and contrast, but not
crops, rotations or other framing.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.encoder import Pixels
from diptych.bundle.image.preprocess import ImageLimits, load_pixels
from diptych.bundle.manifest import ImageSpec
from diptych.errors import InputError
from diptych_training.data.colour_grid import GRID, Rows, colour_grids
from diptych_training.data.pairs.image_files import map_in_threads, run_isolated
from diptych_training.data.pairs.pair import Entry, Pair, Unusable

DEFAULT_THRESHOLD = 0.95  # cosine; see training/README.md for what it finds and what it mistakes
SIDE_PX = 4 * GRID
BATCH = 256
SPEC = ImageSpec(
    size=SIDE_PX,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    interpolation="box",
    resize_mode="squash",
    crop="round",
    alpha="white",
)


@dataclass(frozen=True)
class NearDuplicate:
    """A training pair and its nearest evaluation image."""

    name: str
    cosine: float
    other: str
    text: str
    other_text: str


@dataclass(frozen=True)
class EvaluationImages:
    """(M, F) colour grids of evaluation images, with their names and texts."""

    rows: Rows
    names: Sequence[str]
    texts: Sequence[str]


Item = TypeVar("Item")
Indices = NDArray[np.intp]
Advance = Callable[[int], object]
ReportUnusable = Callable[[Unusable], object]  # receives entries that cannot be compared


class NearDuplicateFinder:
    """Compares images with evaluation images; with `mirrored`, also with their mirror images."""

    def __init__(
        self,
        images: EvaluationImages,
        limits: ImageLimits,
        *,
        threshold: float = DEFAULT_THRESHOLD,
        mirrored: bool = False,
        n_threads: int = 1,
    ) -> None:
        self._images = images
        self._limits = limits
        self._threshold = threshold
        self._mirrored = mirrored
        self._n_threads = n_threads

    def find(
        self, entries: Iterable[Entry], advance: Advance, report_unusable: ReportUnusable
    ) -> Iterator[NearDuplicate]:
        """The entries that are near duplicates of an evaluation image, in order."""
        for found in _chunks(comparable(entries, self._limits, self._n_threads, report_unusable)):
            pixels = np.stack([one for _, one in found])  # (B, S, S, 3)
            cosines, nearest = self._nearest(pixels)
            advance(len(found))
            for (pair, _), cosine, index in zip(found, cosines, nearest, strict=True):
                if cosine >= self._threshold:
                    other = self._images.names[index], self._images.texts[index]
                    yield NearDuplicate(pair.name, float(cosine), other[0], pair.texts.first, other[1])

    def _nearest(self, pixels: Pixels) -> tuple[Rows, Indices]:
        """(B, S, S, 3) -> (B,) highest cosine, (B,) index of that evaluation image."""
        cosines = colour_grids(pixels) @ self._images.rows.T  # (B, M)
        if self._mirrored:
            cosines = np.maximum(cosines, colour_grids(pixels[:, :, ::-1]) @ self._images.rows.T)
        return highest(cosines)


def highest(cosines: Rows) -> tuple[Rows, Indices]:
    """(B, M) -> (B,) highest cosine of each row, (B,) its column. M is at least 1."""
    nearest = cosines.argmax(axis=1)
    return cosines[np.arange(len(cosines)), nearest], nearest


def evaluation_images(
    entries: Iterable[Entry],
    limits: ImageLimits,
    n_threads: int,
    advance: Advance,
    report_unusable: ReportUnusable,
) -> EvaluationImages:
    """Colour grids of all images that can be decoded: 3 kB per image."""
    rows: list[Rows] = []
    names: list[str] = []
    texts: list[str] = []
    for found in _chunks(comparable(entries, limits, n_threads, report_unusable)):
        rows.append(colour_grids(np.stack([pixels for _, pixels in found])))
        names += [pair.name for pair, _ in found]
        texts += [pair.texts.first for pair, _ in found]
        advance(len(found))
    return EvaluationImages(
        np.concatenate(rows) if rows else np.zeros((0, GRID * GRID * 3), np.float32), names, texts
    )


def comparable(
    entries: Iterable[Entry], limits: ImageLimits, n_threads: int, report_unusable: ReportUnusable
) -> Iterator[tuple[Pair, Pixels]]:
    """Yield pairs with their (S, S, 3) pixels, and pass all other entries to `report_unusable`."""

    def work(entry: Entry) -> Pixels | Unusable:
        if isinstance(entry, Unusable):
            return entry
        try:
            return run_isolated(load_pixels, entry.image, SPEC, limits)
        except InputError as error:
            return Unusable(entry.name, str(error))

    for entry, made in map_in_threads(iter(entries), work, n_threads):
        if isinstance(made, Unusable):
            report_unusable(made)
        elif isinstance(entry, Pair):
            yield entry, made


def _chunks(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Yield BATCH items at a time."""
    source = iter(items)
    while chunk := list(islice(source, BATCH)):
        yield chunk

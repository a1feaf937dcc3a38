"""Confusions as one PNG: each image, its label, and the label that the model preferred.

They are collected while a model is measured, and drawn next to the nearest training images. The same
confusions always give the same bytes.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from PIL import Image

from diptych.bundle.encoder import Pixels
from diptych_training.data.packed import Kind, PackedDataset, PackedSource
from diptych_training.evaluate.confusions import Confusion, EmbeddedSource, select_varied, widest_margins
from diptych_training.evaluate.embedding import embed_images, fit_pixels
from diptych_training.evaluate.evaluated_model import EvaluatedModel
from diptych_training.evaluate.table import TITLES
from diptych_training.reports.pictures import PALE, Cell, Line, contact_sheet, first_within

COLUMNS, TILE = 5, 92  # the side of a tile in pixels
WRONG = "#b3261e"
LEGEND = (
    "Left: the image as the model saw it, with its label. Right: the wrong label that it preferred most, its "
    "probability, and a training image of it."
)
MAX_COMPARED = 256  # training images of one label; a common label has about a hundred


class TrainingImages:
    """The training images of some labels, of all kinds of sources."""

    def __init__(self, dataset: PackedDataset, labels: Iterable[str]) -> None:
        wanted = set(labels)
        self._of_label: defaultdict[str, list[tuple[PackedSource, int]]] = defaultdict(list)
        for source in dataset.sources("train") if wanted else []:
            for index, item in enumerate(source.items):
                if item.label in wanted:
                    self._of_label[item.label].append((source, index))

    def nearest(self, confusion: Confusion, model: EvaluatedModel) -> Pixels | None:
        """(H, W, 3): the training image of the wrong label that the model finds most similar; None if there
        is none.
        """
        listed = self._of_label[confusion.given][:MAX_COMPARED]
        if not listed:
            return None
        images = np.stack([np.asarray(source.images[index]) for source, index in listed])
        rows = embed_images(model.encoder, images, model.image_spec)  # (M, D)
        nearest: Pixels = images[int((rows @ confusion.embedding).argmax())]
        return nearest


def draw_confusions(cells: Mapping[Kind, Sequence[Cell]], title: str) -> bytes:
    """PNG of at most `pictures.MAX_BYTES`; colours are reduced first, then cells of each kind."""
    return first_within(_sheets(cells, title))


def _sheets(cells: Mapping[Kind, Sequence[Cell]], title: str) -> Iterator[Image.Image]:
    n = max(map(len, cells.values()))
    while True:
        groups = {TITLES[kind]: some[:n] for kind, some in cells.items()}
        yield contact_sheet(title, groups, columns=COLUMNS, tile_px=TILE, n_lines=3, note=LEGEND)
        n //= 2


class ConfusionCollector:
    """Collects the confusions of one model from all sources that `collect` gets."""

    def __init__(self, model: EvaluatedModel) -> None:
        self.model = model
        self.found: list[Confusion] = []

    def collect(self, source: EmbeddedSource) -> None:
        """Keep the largest confusions of one source."""
        self.found += widest_margins(source, self.model.logit_scale)

    def picture(self, dataset: PackedDataset) -> bytes | None:
        """Draw a PNG with training images of the data set; None if no answer was wrong."""
        chosen = select_varied(self.found)
        if not chosen:
            return None
        training = TrainingImages(dataset, {one.given for some in chosen.values() for one in some})
        cells = {kind: [self._cell(one, training) for one in some] for kind, some in chosen.items()}
        split = self.found[0].source.split
        title = f"{self.model.name} on {dataset.name}/{split}: worst confusions"
        return draw_confusions(cells, title)

    def _cell(self, confusion: Confusion, training: TrainingImages) -> Cell:
        nearest = training.nearest(confusion, self.model)
        seen = self._as_model_input(confusion.source.images[confusion.index])
        return Cell(
            pictures=(seen, None if nearest is None else self._as_model_input(nearest)),
            lines=(
                Line(confusion.right, is_bold=True),
                Line(confusion.given, WRONG, tail=f" {confusion.probability:.0%}"),
                Line(confusion.source.name, PALE),
            ),
        )

    def _as_model_input(self, image: Pixels) -> Pixels:
        """(H, W, 3) as the model gets it: (S, S, 3)."""
        seen: Pixels = fit_pixels(image[None], self.model.image_spec)[0]
        return seen

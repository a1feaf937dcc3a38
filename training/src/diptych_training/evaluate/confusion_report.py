"""Confusions as one PNG: each image, its label, and the label that the model preferred.

They are collected while a model is measured, and drawn next to the nearest training images. The same
confusions always give the same bytes.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from diptych.bundle.encoder import Pixels
from diptych_training.data.packed import Kind, PackedDataset, PackedSource
from diptych_training.evaluate.confusions import Confusion, EmbeddedSource, select_varied, widest_margins
from diptych_training.evaluate.embedding import embed_images, fit_pixels
from diptych_training.evaluate.evaluated_model import EvaluatedModel
from diptych_training.evaluate.table import TITLES
from diptych_training.reports.pictures import FRAME, INK, PALE, PAPER, first_within, font, shortened, tile

WIDTH, COLUMNS, MARGIN = 1000, 5, 8  # pixels
TILE, GAP = 92, 4
LINE, HEADING = 15, 30
WRONG = "#b3261e"
CELL_WIDTH = WIDTH // COLUMNS
TEXT_WIDTH = CELL_WIDTH - 2 * MARGIN
CELL_HEIGHT = TILE + 3 * LINE + 2 * MARGIN
LEGEND = (
    "Left: the image as the model saw it, with its label. Right: the wrong label that it preferred most, its "
    "probability, and a training image of it."
)


@dataclass(frozen=True)
class Cell:
    """An image (S, S, 3) as the model saw it, its right and given label, and a training image of the given
    one, if any.
    """

    image: Pixels
    right: str
    given: str
    probability: float
    source: str
    nearest_training: Pixels | None


def draw_confusions(cells: Mapping[Kind, Sequence[Cell]], title: str) -> bytes:
    """PNG of at most `sheet.MAX_BYTES`; colours are reduced first, then cells of each kind."""
    return first_within(_sheets(cells, title))


def _sheets(cells: Mapping[Kind, Sequence[Cell]], title: str) -> Iterator[Image.Image]:
    n = max(map(len, cells.values()))
    while True:
        yield _sheet({kind: some[:n] for kind, some in cells.items()}, title)
        n //= 2


def _sheet(cells: Mapping[Kind, Sequence[Cell]], title: str) -> Image.Image:
    n_rows = sum(-(-len(some) // COLUMNS) for some in cells.values())
    height = 2 * HEADING + len(cells) * HEADING + n_rows * CELL_HEIGHT
    sheet = Image.new("RGB", (WIDTH, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    wide = WIDTH - 2 * MARGIN
    draw.text((MARGIN, MARGIN), shortened(title, font(15, bold=True), wide), INK, font(15, bold=True))
    draw.text((MARGIN, HEADING), shortened(LEGEND, font(12), wide), PALE, font(12))
    y = 2 * HEADING
    for kind, some in cells.items():
        draw.text((MARGIN, y + MARGIN), TITLES[kind], INK, font(14, bold=True))
        y += HEADING
        for number, cell in enumerate(some):
            _draw_cell(
                sheet, draw, cell, CELL_WIDTH * (number % COLUMNS), y + CELL_HEIGHT * (number // COLUMNS)
            )
        y += CELL_HEIGHT * -(-len(some) // COLUMNS)
    return sheet


def _draw_cell(sheet: Image.Image, draw: ImageDraw.ImageDraw, cell: Cell, x: int, y: int) -> None:
    left, top = x + MARGIN, y + MARGIN
    for at, pixels in ((left, cell.image), (left + TILE + GAP, cell.nearest_training)):
        if pixels is not None:
            sheet.paste(tile(pixels, TILE), (at, top))
            draw.rectangle((at - 1, top - 1, at + TILE, top + TILE), outline=FRAME)
    lines = (
        (shortened(cell.right, font(12, bold=True), TEXT_WIDTH), INK, font(12, bold=True)),
        (_answer(cell), WRONG, font(12)),
        (shortened(cell.source, font(11), TEXT_WIDTH), PALE, font(11)),
    )
    for number, (line, colour, face) in enumerate(lines):
        draw.text((left, top + TILE + 2 + LINE * number), line, colour, face)


def _answer(cell: Cell) -> str:
    """The given label and its probability; only the label is shortened."""
    sure = f" {cell.probability:.0%}"
    return shortened(cell.given, font(12), TEXT_WIDTH - font(12).getlength(sure)) + sure


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
        nearest_training = training.nearest(confusion, self.model)
        return Cell(
            image=self._as_model_input(confusion.source.images[confusion.index]),
            right=confusion.right,
            given=confusion.given,
            probability=confusion.probability,
            source=confusion.source.name,
            nearest_training=None if nearest_training is None else self._as_model_input(nearest_training),
        )

    def _as_model_input(self, image: Pixels) -> Pixels:
        """(H, W, 3) as the model gets it: (S, S, 3)."""
        seen: Pixels = fit_pixels(image[None], self.model.image_spec)[0]
        return seen

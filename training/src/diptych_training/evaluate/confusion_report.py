"""Confusions of a model: collected while it is measured, then drawn beside the nearest training images."""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from diptych.bundle.encoder import Pixels
from diptych_training.data.packed import PackedDataset, PackedSource
from diptych_training.evaluate.confusion_picture import Cell, draw_confusions
from diptych_training.evaluate.confusions import Confusion, EmbeddedSource, select_varied, widest_margins
from diptych_training.evaluate.embedding import embed_images, fit_pixels
from diptych_training.evaluate.subject import Subject

MAX_LOOKED_AT = 256  # training images of one label; a common one has a hundred


class TrainingImages:
    """The training images of some labels, of all kinds of sources."""

    def __init__(self, dataset: PackedDataset, labels: Iterable[str]) -> None:
        wanted = set(labels)
        self._of_label: defaultdict[str, list[tuple[PackedSource, int]]] = defaultdict(list)
        for source in dataset.sources("train") if wanted else []:
            for index, item in enumerate(source.items):
                if item.label in wanted:
                    self._of_label[item.label].append((source, index))

    def nearest(self, confusion: Confusion, subject: Subject) -> Pixels | None:
        """(H, W, 3), the one of the wrong label that the model finds most alike; None if there is none."""
        listed = self._of_label[confusion.given][:MAX_LOOKED_AT]
        if not listed:
            return None
        images = np.stack([np.asarray(source.images[index]) for source, index in listed])
        rows = embed_images(subject.encoder, images, subject.image_spec)  # (M, D)
        nearest: Pixels = images[int((rows @ confusion.embedding).argmax())]
        return nearest


class ConfusionCollector:
    """Those of one subject, from all sources that it is shown to `look` at."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.found: list[Confusion] = []

    def collect(self, answered: EmbeddedSource) -> None:
        """Keep what is worst in one source."""
        self.found += widest_margins(answered, self.subject.logit_scale)

    def picture(self, dataset: PackedDataset) -> bytes | None:
        """PNG, with training images of the data set; None if no answer was wrong."""
        chosen = select_varied(self.found)
        if not chosen:
            return None
        nearest_training = TrainingImages(dataset, {one.given for some in chosen.values() for one in some})
        cells = {kind: [self._cell(one, nearest_training) for one in some] for kind, some in chosen.items()}
        split = self.found[0].source.split
        title = f"{self.subject.name} on {dataset.name}/{split}: worst confusions"
        return draw_confusions(cells, title)

    def _cell(self, confusion: Confusion, training: TrainingImages) -> Cell:
        nearest_training = training.nearest(confusion, self.subject)
        return Cell(
            image=self._seen(confusion.source.images[confusion.index]),
            right=confusion.right,
            given=confusion.given,
            probability=confusion.probability,
            source=confusion.source.name,
            nearest_training=None if nearest_training is None else self._seen(nearest_training),
        )

    def _seen(self, image: Pixels) -> Pixels:
        """(H, W, 3) as the model gets it: (S, S, 3)."""
        seen: Pixels = fit_pixels(image[None], self.subject.image_spec)[0]
        return seen

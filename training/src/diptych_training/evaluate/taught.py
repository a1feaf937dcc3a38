"""What a model was shown under a label: the training image that is nearest to one that it took for that."""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from diptych.bundle.encoder import Pixels
from diptych_training.data.packed import PackedDataset, PackedSource
from diptych_training.evaluate.confusions import Confusion
from diptych_training.evaluate.embedding import embed_images
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

"""Collect the worst wrong answers of a model while it is measured, and show them; measures nothing itself."""

from diptych.bundle.encoder import Pixels
from diptych_training.data.packed import PackedDataset
from diptych_training.evaluate.confusion_picture import Cell, draw_confusions
from diptych_training.evaluate.confusions import Answered, Confusion, varied, worst_of
from diptych_training.evaluate.embedding import fit_pixels
from diptych_training.evaluate.subject import Subject
from diptych_training.evaluate.taught import TrainingImages


class WorstAnswers:
    """Those of one subject, from all sources that it is shown to `look` at."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.found: list[Confusion] = []

    def look(self, answered: Answered) -> None:
        """Keep what is worst in one source."""
        self.found += worst_of(answered, self.subject.logit_scale)

    def picture(self, dataset: PackedDataset) -> bytes | None:
        """PNG, with training images of the data set; None if no answer was wrong."""
        chosen = varied(self.found)
        if not chosen:
            return None
        taught = TrainingImages(dataset, {one.given for some in chosen.values() for one in some})
        cells = {kind: [self._cell(one, taught) for one in some] for kind, some in chosen.items()}
        split = self.found[0].source.split
        title = f"{self.subject.name} on {dataset.name}/{split}: worst confusions"
        return draw_confusions(cells, title)

    def _cell(self, confusion: Confusion, training: TrainingImages) -> Cell:
        taught = training.nearest(confusion, self.subject)
        return Cell(
            image=self._seen(confusion.source.images[confusion.index]),
            right=confusion.right,
            given=confusion.given,
            probability=confusion.probability,
            source=confusion.source.name,
            taught=None if taught is None else self._seen(taught),
        )

    def _seen(self, image: Pixels) -> Pixels:
        """(H, W, 3) as the model gets it: (S, S, 3)."""
        seen: Pixels = fit_pixels(image[None], self.subject.image_spec)[0]
        return seen

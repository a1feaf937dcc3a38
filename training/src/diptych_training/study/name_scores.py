"""Scores of class names, the name alone, for every objective of the study.

A predictive objective says how likely a name is for a picture, which favours short and frequent names. So the
mean over training pictures is subtracted: what remains says how much more likely this picture makes the name.
The raw rule is reported next to it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.encoder import Pixels
from diptych_training.data.packed import PackedDataset
from diptych_training.evaluate.embedding import embed_images
from diptych_training.evaluate.evaluated_model import EvaluatedModel, ScoredModel
from diptych_training.evaluate.scoring import BARE
from diptych_training.evaluate.zero_shot import Classifier

Model = EvaluatedModel | ScoredModel
Rows = NDArray[np.float32]
RAW = "_raw"  # ends the names of figures by the raw rule
N_REFERENCE = 64  # training pictures


@dataclass(frozen=True)
class NameScores:
    """Scores names with one model. `reference` (M, S, S, 3) are training pictures."""

    model: Model
    reference: Pixels
    classifier: Classifier | None  # of a model with a text tower

    def __call__(self, images: Pixels, classes: Sequence[str]) -> Mapping[str, Rows]:
        """(N, S, S, 3) -> (N, C) by what ends the names of figures: nothing, and `RAW` for a second rule."""
        if isinstance(self.model, EvaluatedModel):
            assert self.classifier is not None
            rows = embed_images(self.model.encoder, images, self.model.image_spec)
            return {"": rows @ self.classifier(classes, BARE).T}
        raw, usual = (self.model.scorer(some, [(classes, False)])[0] for some in (images, self.reference))
        return {"": relative(raw, usual), RAW: raw}


def relative(raw: Rows, usual: Rows) -> Rows:
    """(N, C) scores minus the means of (M, C) those of training pictures; an unknown name stays at -inf."""
    is_known = np.isfinite(raw)
    means = np.where(np.isfinite(usual), usual, 0).mean(axis=0)
    return np.where(is_known, raw - means, raw).astype(np.float32)


def reference_pictures(dataset: PackedDataset, n: int = N_REFERENCE) -> Pixels:
    """At most n training pictures, evenly spread over all of them."""
    sources = dataset.sources("train")
    starts = np.cumsum([0, *(len(source.images) for source in sources)])
    chosen = np.unique(np.linspace(0, starts[-1] - 1, n).astype(int))
    source_of = np.searchsorted(starts, chosen, side="right") - 1
    return np.stack([sources[at].images[row - starts[at]] for row, at in zip(chosen, source_of, strict=True)])

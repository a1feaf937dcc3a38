"""The labels of a label set, to judge the user's pictures by in the place of their captions."""

from collections.abc import Sequence
from hashlib import sha256
from itertools import chain

import numpy as np

from diptych.bundle.encoder import Embeddings
from diptych.bundle.manifest import TextSpec
from diptych_training.data.packed import PackedItem
from diptych_training.errors import EvaluationError
from diptych_training.evaluate.evaluated_model import EvaluatedModel
from diptych_training.evaluate.zero_shot import class_embeddings
from diptych_training.schema import Frozen

Texts = tuple[str, ...]  # a label and its further words


class Candidates(Frozen):
    """Labels with their words, what embeds them, and which of them are right.

    `templates` are sentences, or the name of a set of the model. `right` has the labels of each picture by
    the name of its file.
    """

    labels: tuple[Texts, ...]
    templates: tuple[str, ...] | str
    right: dict[str, tuple[str, ...]]

    @property
    def names(self) -> tuple[str, ...]:
        """The labels without their words."""
        return tuple(label for label, *_ in self.labels)

    @property
    def digest(self) -> str:
        """sha256 of all of it."""
        return sha256(self.model_dump_json().encode()).hexdigest()

    def of(self, item: PackedItem) -> frozenset[str]:
        """The right labels of a picture."""
        return frozenset(self.right[item.id.rpartition(":")[2]])

    def templates_of(self, spec: TextSpec) -> tuple[str, ...]:
        """The sentences. Raises EvaluationError for the name of a set that the model lacks."""
        if not isinstance(self.templates, str):
            return self.templates
        found = spec.prompts.get(self.templates)
        if found is None:
            known = ", ".join(sorted(spec.prompts))
            raise EvaluationError(
                f"the label set has the templates {self.templates!r}, which the model that the refresh "
                f"starts from lacks; it has: {known}. --from names another model"
            )
        return tuple(found)


def label_rows(model: EvaluatedModel, labels: Sequence[Texts], templates: Sequence[str]) -> Embeddings:
    """(C, D): the mean of the texts of each label, scaled to unit norm, as a server makes it."""
    texts = list(dict.fromkeys(chain.from_iterable(labels)))
    place = {text: index for index, text in enumerate(texts)}
    rows = class_embeddings(model.encoder, model.tokenizer, texts, templates)
    means = np.stack([rows[[place[text] for text in label]].mean(axis=0) for label in labels])
    unit: Embeddings = means / np.linalg.norm(means, axis=1, keepdims=True)
    return unit

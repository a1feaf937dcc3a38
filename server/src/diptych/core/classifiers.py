"""Keep the linear classifiers of label lists that are asked again; knows nothing of how they are made."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from diptych.core.types import Embeddings

ListKey = tuple[tuple[str, ...], tuple[str, ...]]  # (templates, labels): both have been checked


@dataclass(frozen=True)
class Classifier:
    """The embeddings of C labels as rows, and which labels were cut to the context length."""

    rows: Embeddings  # (C, D), unit norm
    truncated: tuple[bool, ...]


class ClassifierCache:
    """Bounded by labels in all; forgets the list that was used longest ago. Used from one event loop.

    Without it a list of a thousand known labels costs a thousand look-ups and a copy of all their rows.
    """

    def __init__(self, max_labels: int) -> None:
        self._max_labels = max_labels
        self._n_labels = 0
        self._entries: OrderedDict[ListKey, Classifier] = OrderedDict()

    def get(self, key: ListKey) -> Classifier | None:
        """It now counts as used."""
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, key: ListKey, classifier: Classifier) -> None:
        """Remember it, unless it alone is over the bound."""
        n_labels = len(classifier.rows)
        if key in self._entries or n_labels > self._max_labels:
            return
        self._entries[key] = classifier
        self._n_labels += n_labels
        while self._n_labels > self._max_labels:
            _, oldest = self._entries.popitem(last=False)
            self._n_labels -= len(oldest.rows)


def list_key(templates: Sequence[str], labels: Sequence[str]) -> ListKey:
    """What a classifier is kept under."""
    return tuple(templates), tuple(labels)

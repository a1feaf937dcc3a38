"""Caches of labels that were used recently: single labels, and whole lists as classifiers."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from diptych.core.types import Embeddings, TextEmbedding

LabelKey = tuple[str, str]  # (digest of the model and the templates, label)
ListKey = tuple[tuple[str, ...], tuple[str, ...]]  # (templates, labels)


def keys_of(identity: str, templates: Sequence[str], labels: Sequence[str]) -> list[LabelKey]:
    """One key per label. Templates enter as a digest: fifty thousand entries must not hold their texts."""
    digest = hashlib.sha256(json.dumps([identity, *templates]).encode()).hexdigest()
    return [(digest, label) for label in labels]


class LabelCache:
    """A bounded map of label embeddings that evicts the least recently used. Used from one event loop."""

    def __init__(self, max_entries: int) -> None:
        self._max_entries = max_entries
        self._entries: OrderedDict[LabelKey, TextEmbedding] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get_many(self, keys: Sequence[LabelKey]) -> dict[LabelKey, TextEmbedding]:
        """Return the cached ones of the keys; they count as used now."""
        found = {key: self._entries[key] for key in keys if key in self._entries}
        for key in found:
            self._entries.move_to_end(key)
        return found

    def put_many(self, entries: dict[LabelKey, TextEmbedding]) -> None:
        """Add entries, and evict the least recently used beyond the bound."""
        self._entries.update(entries)
        while len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)


@dataclass(frozen=True)
class Classifier:
    """A linear classifier: the embeddings of C labels as rows, and which labels were truncated."""

    rows: Embeddings  # (C, D), unit norm
    truncated: tuple[bool, ...]


def list_key(templates: Sequence[str], labels: Sequence[str]) -> ListKey:
    """The cache key of a classifier."""
    return tuple(templates), tuple(labels)

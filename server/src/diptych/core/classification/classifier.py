"""The linear classifier that a list of labels makes, and its key. Knows nothing of how it is made."""

from collections.abc import Sequence
from dataclasses import dataclass

from diptych.core.types import Embeddings

ListKey = tuple[tuple[str, ...], tuple[str, ...]]  # (templates, labels)


@dataclass(frozen=True)
class Classifier:
    """The embeddings of C labels as rows, and which labels were cut to the context length."""

    rows: Embeddings  # (C, D), unit norm
    truncated: tuple[bool, ...]


def list_key(templates: Sequence[str], labels: Sequence[str]) -> ListKey:
    """What a classifier is kept under."""
    return tuple(templates), tuple(labels)

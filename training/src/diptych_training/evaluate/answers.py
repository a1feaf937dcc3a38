"""Which labels are right for an image; knows nothing of models.

Flags of Norway and of Svalbard are one drawing: whoever sees the pixels cannot tell which was meant, so every
label of an image is right for all images of the same source with exactly the same pixels.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

Accepted = list[frozenset[str]]


def accepted_labels(images: Iterable[NDArray[np.uint8]], labels: Sequence[str]) -> Accepted:
    """The labels that are right for each of N images (S, S, 3) of one source, in the same order."""
    digests = [sha256(np.ascontiguousarray(image).data).digest() for image in images]
    labels_of: defaultdict[bytes, set[str]] = defaultdict(set)
    for digest, label in zip(digests, labels, strict=True):
        labels_of[digest].add(label)
    shared = {digest: frozenset(names) for digest, names in labels_of.items()}
    return [shared[digest] for digest in digests]


def relevance(accepted: Accepted, classes: Sequence[str]) -> NDArray[np.bool_]:
    """(N, C): whether class c is right for image n. Classes are distinct; labels outside them never match."""
    column = {name: index for index, name in enumerate(classes)}
    relevant = np.zeros((len(accepted), len(classes)), dtype=np.bool_)
    for row, labels in enumerate(accepted):
        for label in labels:
            if label in column:
                relevant[row, column[label]] = True
    return relevant

"""Fold the hits of a search that are duplicates of a better hit into that hit."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from diptych.core.types import Duplicate, Embeddings, Hit

Collapse = Literal["bytes"] | float  # images with the same bytes, or with at least this cosine
MAX_FOLDED = 2_000  # best hits of a search among which duplicates are looked for


def fold_same_bytes(hits: Sequence[Hit]) -> list[Hit]:
    """The best hit of each content, in order."""
    groups: dict[str, list[Hit]] = {}
    for hit in hits:
        groups.setdefault(hit.sha256, []).append(hit)
    return [_folded(*group) for group in groups.values()]


def fold_near(hits: Sequence[Hit], rows: Embeddings, cosine: float) -> list[Hit]:
    """Fold each of N hits, with embeddings (N, D), into the nearest better hit of at least this cosine.

    Only hits that remain are compared with, so that a chain of neighbours does not become one hit.
    """
    cosines = rows @ rows.T  # (N, N)
    groups: dict[int, list[Hit]] = {}
    remains = np.zeros(len(hits), bool)
    for i, hit in enumerate(hits):
        near = np.flatnonzero(remains & (cosines[i] >= cosine))
        if len(near):
            groups[int(near[cosines[i, near].argmax()])].append(hit)
        else:
            remains[i], groups[i] = True, [hit]
    return [_folded(*group) for group in groups.values()]


def _folded(best: Hit, *others: Hit) -> Hit:
    if not others:
        return best
    return replace(
        best,
        duplicates=tuple(
            Duplicate(one.id, "bytes" if one.sha256 == best.sha256 else "near", one.collection)
            for one in others
        ),
    )

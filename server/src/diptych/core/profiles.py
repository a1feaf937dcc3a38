"""Which shapes of input an engine is built for, as data. Knows nothing of what builds it."""

from collections.abc import Sequence
from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """Every shape between `smallest` and `largest` runs; in `best` it is fastest."""

    smallest: Shape
    best: Shape
    largest: Shape


def image_profile(side_px: int, max_batch_size: int) -> Profile:
    """Batches (B, S, S, 3) of one image and more; fastest when full."""
    one, full = (1, side_px, side_px, 3), (max_batch_size, side_px, side_px, 3)
    return Profile(one, full, full)


def text_profile(lengths: Sequence[int], max_batch_size: int) -> Profile:
    """Batches (B, L) of one text and more, of the shortest to the longest of `lengths`, which ascend.

    Fastest when full, at the length in the middle: of texts few are as long as a model allows.
    """
    middle = lengths[len(lengths) // 2]
    return Profile((1, lengths[0]), (max_batch_size, middle), (max_batch_size, lengths[-1]))

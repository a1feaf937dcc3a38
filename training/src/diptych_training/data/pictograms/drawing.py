"""A drawing with its words, before it is rendered."""

from dataclasses import dataclass

from diptych_training.data.packed import PackedItem


@dataclass(frozen=True)
class Drawing:
    """SVG or PNG bytes and the item they are an image of.

    A drawing that renders nearly as `unlike` does (also SVG or PNG bytes) is dropped.
    """

    item: PackedItem
    payload: bytes
    unlike: bytes | None = None

"""A drawing with its texts, before rendering."""

from dataclasses import dataclass

from diptych_training.data.packed import PackedItem


@dataclass(frozen=True)
class Drawing:
    """SVG or PNG bytes, and the item that they show.

    A drawing whose rendering nearly equals that of `unlike` (also SVG or PNG bytes) is dropped.
    """

    item: PackedItem
    payload: bytes
    unlike: bytes | None = None

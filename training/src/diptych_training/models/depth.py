"""The depth of a weight in its tower, derived from its name.

Layer 0 is the stem: patches or first convolutions, embeddings, positions. Then come the blocks of a
transformer or the stages of a ResNet, and last the head: pooling and projection. Of a tower of photographs
and drawings, the layers are those of the drawings' tower; everything else is in its stem.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Tower = Literal["image", "text"]
TOWERS: tuple[Tower, ...] = ("image", "text")
SHARED = ("logit_scale", "logit_bias")  # belong to neither tower
OBJECTIVE = "objective."  # the head of an objective, which belongs to neither tower either
IMAGE = "visual."
WORD_PIECES = "word_pieces."
PHOTOGRAPHS, DRAWINGS, GATE = "photographs.", "drawings.", "gate."
IMAGE_HEAD = "visual_head."

_BLOCK = re.compile(r"(?:^|\.)(?:resblocks|blocks)\.(\d+)\.")
_STAGE = re.compile(r"^layer(\d+)\.")
_STEM = re.compile(
    r"^(?:stem|conv\d|bn\d|patch_embed|(?:class|token|positional)_embedding|token_(?:weight|route)|pos_embed"
    r"|ln_pre)(?:\.|$)"
)


@dataclass(frozen=True)
class Depth:
    """Layer 0, 1, ... `n_layers` - 1 of a tower, counted from the input."""

    tower: Tower
    layer: int
    n_layers: int

    @property
    def n_above(self) -> int:
        """The number of layers between this one and the output."""
        return self.n_layers - 1 - self.layer


def depths(names: Iterable[str]) -> dict[str, Depth]:
    """The depth of each named weight or buffer of a whole model; shared weights have none."""
    placed: dict[str, tuple[Tower, int | None]] = {
        name: (tower_of(name), _layer(name.removeprefix(IMAGE).removeprefix(WORD_PIECES)))
        for name in names
        if has_depth(name)
    }
    heads = {
        tower: 1 + max((layer or 0 for at, layer in placed.values() if at == tower), default=0)
        for tower in TOWERS
    }
    return {
        name: Depth(tower, heads[tower] if layer is None else layer, heads[tower] + 1)
        for name, (tower, layer) in placed.items()
    }


def has_depth(name: str) -> bool:
    """Whether a weight belongs to a tower."""
    return name not in SHARED and not name.startswith(OBJECTIVE)


def tower_of(name: str) -> Tower:
    """The tower of a weight that is not shared."""
    return "image" if name.startswith((IMAGE, IMAGE_HEAD)) else "text"


def _layer(name: str) -> int | None:
    """The layer from the name within its tower; None for the head."""
    if name.startswith((PHOTOGRAPHS, GATE)):
        return 0
    name = name.removeprefix(DRAWINGS)
    block, stage = _BLOCK.search(name), _STAGE.match(name)
    if block:
        return 1 + int(block[1])
    if stage:
        return int(stage[1])
    return 0 if _STEM.match(name) else None

"""Whether the padding behind a text changes its embedding, from the tower's structure; runs no model."""

from typing import Literal

from torch import nn

from diptych_training.importing.open_clip.tokenizing import Tokenizing
from diptych_training.importing.open_clip.towers import HuggingFaceText, TransformerText

PadTo = Literal["longest", "context_length"]


def pad_to(tower: nn.Module, tokenizing: Tokenizing) -> PadTo:
    """`longest` only where trailing padding provably changes nothing."""
    if tokenizing.appended_id is not None:
        return "context_length"  # a token follows the padding
    if isinstance(tower, HuggingFaceText):
        return "longest" if tower.pad_id == tokenizing.pad_id else "context_length"  # masked, or attended to
    if not isinstance(tower, TransformerText) or not tower.is_causal:
        return "context_length"  # every token sees the padding
    return "longest" if _is_pooled_before_padding(tower, tokenizing) else "context_length"


def _is_pooled_before_padding(tower: TransformerText, tokenizing: Tokenizing) -> bool:
    placed = tokenizing.tokenizer.encode("").ids  # what every text has
    if tower.pool_type == "argmax":  # the first of the highest ids
        return bool(placed) and tokenizing.pad_id <= max(placed)
    if tower.pool_type == "eos":  # the first end-of-text, or the first token where there is none
        return tower.eos_id in placed or tower.eos_id != tokenizing.pad_id
    return tower.pool_type == "first"

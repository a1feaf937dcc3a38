"""What padding does to a text tower, and the mask that undoes it; knows nothing of tokenizers."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SAME_COSINE = 1 - 1e-5  # float32 rounding: sums over more positions are taken in another order


@dataclass(frozen=True)
class Padding:
    """The id that fills texts up, and which positions a token may see.

    `everything`: no mask is passed to the tower. `all_but_padding`: ids other than `pad_id`.
    `up_to_padding`: everything up to and including the first `pad_id`, where that id also ends each text.
    """

    pad_id: int
    visible: Literal["everything", "all_but_padding", "up_to_padding"]

    def mask(self, input_ids: Tensor) -> Tensor | None:
        """(B, L) ids -> (B, L) int64, 1 where a token is seen; None where the tower gets no mask."""
        if self.visible == "everything":
            return None
        is_pad = (input_ids == self.pad_id).long()
        if self.visible == "all_but_padding":
            return 1 - is_pad
        n_before = is_pad.cumsum(dim=1) - is_pad
        return (n_before == 0).long()


@torch.no_grad()
def padding_changes_nothing(model: nn.Module, ids: list[int], pad_id: int, context_length: int) -> bool:
    """True if a text has the same feature alone and filled up to `context_length`, measured on the model."""
    alone = torch.tensor([ids])
    filled = F.pad(alone, (0, context_length - len(ids)), value=pad_id)
    encode = model.encode_text
    cosine = F.cosine_similarity(encode(alone).double(), encode(filled).double())  # type: ignore[operator]
    return bool(cosine.item() >= SAME_COSINE)

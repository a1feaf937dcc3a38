"""Mapping of one of our tensors to another library's."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

StateDict = dict[str, Tensor]


@dataclass(frozen=True)
class Entry:
    """`ours` equals `theirs`, possibly transposed, with `n_lead` leading dimensions of 1, or split in parts.

    If split, each part has its share of our first dimension: query, key and value, in that order.
    """

    ours: str
    theirs: tuple[str, ...]
    is_transposed: bool = False
    n_lead: int = 0
    shares: tuple[int, ...] = (1,)

    def to_theirs(self, tensor: Tensor) -> StateDict:
        """Our tensor under their names."""
        if self.is_transposed:
            tensor = tensor.T
        tensor = tensor.reshape((1,) * self.n_lead + tuple(tensor.shape))
        if len(self.theirs) == 1:
            return {self.theirs[0]: tensor}
        unit = tensor.shape[0] // sum(self.shares)
        parts = torch.split(tensor, [unit * share for share in self.shares])
        return dict(zip(self.theirs, parts, strict=True))

    def to_ours(self, state: Mapping[str, Tensor]) -> Tensor:
        """Our tensor from theirs; a scalar may have its leading dimension or not."""
        parts = [state[name] for name in self.theirs]
        tensor = torch.cat(parts) if len(parts) > 1 else parts[0]
        n_lead = min(self.n_lead, max(0, tensor.ndim))
        if all(size == 1 for size in tensor.shape[:n_lead]):  # else the caller reports the wrong shape
            tensor = tensor.reshape(tensor.shape[n_lead:])
        return tensor.T if self.is_transposed else tensor


def layers(ours: str, theirs: str) -> Iterator[Entry]:
    """Entries for the weight and bias of a layer."""
    for part in ("weight", "bias"):
        yield Entry(f"{ours}.{part}", (f"{theirs}.{part}",))

"""Low-rank adaptation (LoRA, Hu et al. 2021): a locked matrix W learns as W + (alpha / rank) B A.

B begins at zero, so that an adapted model begins as its base. `merged` returns the weights of a plain model
with the same outputs.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych_training.models.layers import ResidualAttentionBlock, SelfAttention

# Of a transformer's blocks: query, key, value and output; both layers of the feed-forward part.
Target = Literal["attention", "mlp"]
TARGETS: tuple[Target, ...] = ("attention", "mlp")
OF_ADAPTER = ".lora."  # in the names of the weights of adapters


class LowRank(nn.Module):
    """The product of `up` (B) and `down` (A), times alpha / rank."""

    def __init__(self, n_in: int, n_out: int, rank: int, alpha: float) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.down = nn.Parameter(torch.empty(rank, n_in))
        self.up = nn.Parameter(torch.zeros(n_out, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))  # as the authors' code

    def times(self, x: Tensor, rows: slice | None = None) -> Tensor:
        """(..., n_in) -> (..., n_out), or only these `rows` of the output."""
        up = self.up if rows is None else self.up[rows]
        return F.linear(F.linear(x, self.down), up) * self.scale

    def product(self) -> Tensor:
        """(n_out, n_in): what the adapter adds to the weight."""
        return self.scale * self.up.detach() @ self.down.detach()


class AdaptedLinear(nn.Linear):
    """A linear layer whose weight learns by an adapter."""

    weight_name: ClassVar[str] = "weight"
    lora: LowRank

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        return super().forward(x) + self.lora.times(x)


class AdaptedAttention(SelfAttention):
    """Attention whose queries, keys and values learn by one adapter."""

    weight_name: ClassVar[str] = "in_proj_weight"
    lora: LowRank

    def project(self, x: Tensor, rows: slice | None = None) -> Tensor:
        """(B, L, W) -> (B, L, number of rows)."""
        return super().project(x, rows) + self.lora.times(x, rows)


Adapted = AdaptedLinear | AdaptedAttention


def adapt(model: nn.Module, rank: int, alpha: float, targets: Sequence[Target]) -> int:
    """Add an adapter to every locked weight that the targets name. Returns the number of adapters."""
    found = [module for module, weight in _named_by(model, targets) if not weight.requires_grad]
    for module in found:
        if isinstance(module, SelfAttention):
            n_out, n_in = module.in_proj_weight.shape
            module.__class__ = AdaptedAttention  # keeps the names of the weights
        else:
            n_out, n_in = module.weight.shape
            module.__class__ = AdaptedLinear
        module.lora = LowRank(n_in, n_out, rank, alpha)
    return len(found)


def is_of_adapter(name: str) -> bool:
    """Whether a weight belongs to an adapter."""
    return OF_ADAPTER in name


def adapter_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights of all adapters, by name."""
    return {name: tensor for name, tensor in model.state_dict().items() if is_of_adapter(name)}


def merged(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of a plain model with the same outputs; without adapters, that of the model itself."""
    tensors = {name: tensor for name, tensor in model.state_dict().items() if not is_of_adapter(name)}
    for name, module in _adapted(model):
        tensors[name] = tensors[name] + module.lora.product()
    return tensors


def unmerged(
    model: nn.Module, weights: Mapping[str, Tensor], adapters: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The inverse of `merged`: the state dict of `model`, which holds the base of the adapted weights."""
    own = model.state_dict()
    return {**weights, **{name: own[name] for name, _ in _adapted(model)}, **adapters}


def _named_by(
    model: nn.Module, targets: Sequence[Target]
) -> Iterator[tuple[SelfAttention | nn.Linear, Tensor]]:
    """The modules that can be adapted, each with the weight that would be."""
    for module in model.modules():
        if isinstance(module, ResidualAttentionBlock):
            if "attention" in targets:
                yield module.attn, module.attn.in_proj_weight
                yield module.attn.out_proj, module.attn.out_proj.weight
            if "mlp" in targets:
                yield from ((layer, layer.weight) for layer in module.mlp if isinstance(layer, nn.Linear))


def _adapted(model: nn.Module) -> Iterator[tuple[str, Adapted]]:
    """The adapted modules by the names of their weights."""
    for name, module in model.named_modules():
        if isinstance(module, Adapted):
            yield f"{name}.{module.weight_name}", module

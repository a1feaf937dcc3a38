"""Choose the form of attention that can be exported; knows nothing of weights or configurations."""

from torch import nn
from transformers import PreTrainedModel


def use_plain_attention(model: nn.Module) -> None:
    """Take timm's and transformers' own attention in plain operations, which computes the same.

    torch's exporter fails on their fused one wherever a bias of positions is added to the scores.
    """
    for module in model.modules():
        if getattr(module, "fused_attn", False):  # timm's switch
            module.fused_attn = False  # type: ignore[assignment]
        if isinstance(module, PreTrainedModel):
            module.set_attn_implementation("eager")

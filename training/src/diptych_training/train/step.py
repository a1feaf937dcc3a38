"""One training step's forward and backward pass; knows nothing of schedules or files."""

import math

import torch
from torch import Tensor, nn

from diptych_training.loss import LossKind, Pairs, pair_loss
from diptych_training.models.clip import CLIP
from diptych_training.train.batches import Batch


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """bfloat16 where it is safe, or nothing: needs no loss scaling, since bfloat16 has float32's range."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def forward_backward(model: CLIP, batch: Batch, precision: str, loss_kind: LossKind = "softmax") -> float:
    """Add the gradients of a batch to the model's; none, if the loss is not finite. Returns the loss."""
    device = model.logit_scale.device
    with autocast(device, precision):
        image_features, text_features = model(
            batch.pixels.to(device), batch.input_ids.to(device)
        )  # (B, D) each
    pairs = Pairs(image_features, text_features, batch.positives.to(device))
    loss = pair_loss(loss_kind, pairs, model.logit_scale, model.logit_bias)
    value = loss.item()
    if math.isfinite(value):
        loss.backward()  # type: ignore[no-untyped-call]
    return value


def copied_buffers(model: nn.Module) -> list[Tensor]:
    """What a forward pass changes: the running statistics of batch normalisation."""
    return [buffer.clone() for buffer in model.buffers()]


def restore_buffers(model: nn.Module, copies: list[Tensor]) -> None:
    """Take back what a forward pass changed since `copied_buffers`."""
    for buffer, copy in zip(model.buffers(), copies, strict=True):
        buffer.copy_(copy)

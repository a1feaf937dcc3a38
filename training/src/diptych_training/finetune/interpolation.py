"""Weights between two models of one architecture (WiSE-FT, Wortsman et al. 2022); knows nothing of files."""

from collections.abc import Mapping

import torch
from torch import Tensor

from diptych_training.errors import TrainingConfigError


def interpolated(
    original: Mapping[str, Tensor], tuned: Mapping[str, Tensor], alpha: float
) -> dict[str, Tensor]:
    """(1 - alpha) * original + alpha * tuned, weight by weight, running statistics too: 0 is the original.

    What is no float is taken from `tuned`. Raises TrainingConfigError if alpha is outside [0, 1], or naming
    the first weight that only one of them has, or that has another shape.
    """
    if not 0 <= alpha <= 1:
        raise TrainingConfigError(f"alpha is {alpha}, it must be from 0 (the original) to 1 (the fine-tuned)")
    for name in sorted(original.keys() | tuned.keys()):
        shapes = [tuple(side[name].shape) if name in side else None for side in (original, tuned)]
        if shapes[0] != shapes[1]:
            raise TrainingConfigError(
                f"{name} is {shapes[0] or 'missing'} in the original and {shapes[1] or 'missing'} in the "
                "fine-tuned model: only models of one architecture can be mixed"
            )
    return {
        name: torch.lerp(original[name], tensor, alpha) if tensor.is_floating_point() else tensor.clone()
        for name, tensor in tuned.items()
    }

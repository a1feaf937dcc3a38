"""Interpolate weights of two models of one architecture (WiSE-FT, Wortsman et al. 2022)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from diptych_training.errors import TrainingConfigError
from diptych_training.evaluate.comparison import Task
from diptych_training.evaluate.results import Evaluation
from diptych_training.evaluate.table import TITLES, markdown_table


def interpolate_weights(
    original: Mapping[str, Tensor], tuned: Mapping[str, Tensor], alpha: float
) -> dict[str, Tensor]:
    """(1 - alpha) * original + alpha * tuned for each weight, running statistics included.

    Integer tensors are taken from `tuned`. Raises TrainingConfigError if alpha is outside [0, 1], or naming
    the first weight that only one model has or whose shapes differ.
    """
    if not 0 <= alpha <= 1:
        raise TrainingConfigError(f"alpha is {alpha}, must be from 0 (the original) to 1 (the fine-tuned)")
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


@dataclass(frozen=True)
class AlphaResult:
    """Evaluations of one alpha, on the new task's data set and on those of old tasks."""

    alpha: float
    measured: tuple[tuple[Task, Evaluation], ...]


def interpolation_table(results: list[AlphaResult]) -> str:
    """Markdown table: a row for each alpha; zero-shot top-1 of each kind of source, and its change."""
    columns = [
        (f"{task}: {evaluation.dataset}/{evaluation.split} {TITLES[kind].lower()}", means.all.zero_shot[1])
        for task, evaluation in results[0].measured
        for kind, means in evaluation.means().items()
    ]
    header = ["alpha"]
    for title, _ in columns:
        header += [title, "change"]
    return markdown_table(header, [_row(result, [first for _, first in columns]) for result in results])


def _row(result: AlphaResult, at_zero: list[float]) -> list[str]:
    scores = [means.all.zero_shot[1] for _, e in result.measured for means in e.means().values()]
    cells = [f"{result.alpha:g}"]
    for score, first in zip(scores, at_zero, strict=True):
        cells += [f"{score:.3f}", f"{score - first:+.3f}"]
    return cells

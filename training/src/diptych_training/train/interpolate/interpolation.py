"""Mix the weights of two models of one architecture (WiSE-FT, Wortsman et al. 2022), also as a run folder."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from diptych_training.checkpoint import MODEL, Checkpoint, TrainedRun, write_atomic, write_checkpoint
from diptych_training.config import dump_config, read_config
from diptych_training.errors import TrainingConfigError
from diptych_training.evaluate.comparison import Task
from diptych_training.evaluate.results import Evaluation
from diptych_training.evaluate.table import TITLES
from diptych_training.provenance import Provenance
from diptych_training.reports.markdown import markdown_table
from diptych_training.run_folder import RunFolder


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


def write_mixed_run(
    target: Path,
    tuned: TrainedRun,
    original: Mapping[str, Tensor],
    alpha: float,
    mixed_with: Mapping[str, str] | None = None,
) -> Path:
    """Write the run `target`, whose best checkpoint is the mix and whose start is `original`, atomically.

    `mixed_with`: licences of models, by title, that the record of the tuned run does not name. Raises
    TrainingConfigError if the folder exists, or if the models cannot be mixed.
    """
    source = RunFolder(tuned.folder)
    config = read_config(source.config_file, name=target.name)
    if target.exists():
        raise TrainingConfigError(f"{target} already exists: choose another --name")
    mix = interpolate_weights(original, dict(tuned.model.state_dict()), alpha)
    staged = target.with_name(f".{target.name}.part")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    folder = RunFolder(staged)
    for file in ("model_file", "image_spec_file", "text_spec_file", "tokenizer_file"):
        shutil.copyfile(getattr(source, file), getattr(folder, file))
    if source.proof_set_file.is_file():
        shutil.copyfile(source.proof_set_file, folder.proof_set_file)
    if tuned.provenance is not None:
        learned = _learned(tuned.provenance, mixed_with or {})
        write_atomic(folder.provenance_file, learned.model_dump_json(indent=1).encode())
    write_atomic(folder.config_file, dump_config(config).encode())
    _write_weights(folder.start, original, {"step": 0, "metrics": {}})
    mixed = {"alpha": alpha, "run": tuned.folder.resolve().name}
    _write_weights(folder.best, mix, {"step": tuned.step, "metrics": {}, "interpolated": mixed})
    staged.rename(target)
    return target


def _learned(learned: Provenance, mixed_with: Mapping[str, str]) -> Provenance:
    """Add the models that were mixed in to the record of what the weights learned from."""
    return learned.model_copy(update={"started_from": {**learned.started_from, **mixed_with}})


def _write_weights(path: Path, weights: Mapping[str, Tensor], state: dict[str, object]) -> None:
    write_checkpoint(path, Checkpoint({f"{MODEL}{name}": tensor for name, tensor in weights.items()}, state))

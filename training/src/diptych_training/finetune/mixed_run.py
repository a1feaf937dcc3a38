"""Write a mix of a fine-tuned run and its original as a run folder of its own."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from diptych_training.checkpoint import MODEL, Checkpoint, TrainedRun, write_atomic, write_checkpoint
from diptych_training.config import dump_config, read_config
from diptych_training.errors import TrainingConfigError
from diptych_training.finetune.interpolation import interpolate_weights
from diptych_training.provenance import Provenance
from diptych_training.run_folder import RunFolder


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

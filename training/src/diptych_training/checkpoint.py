"""Checkpoint files without pickle, and loading of trained runs.

A checkpoint is one safetensors file. Its header carries the rest of the state as JSON, so a single rename
makes the whole checkpoint appear at once.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from diptych.bundle.manifest import ImageSpec, TextSpec
from diptych_training.config import TrainConfig, read_config
from diptych_training.errors import CheckpointError
from diptych_training.files import atomic_path, open_atomic
from diptych_training.models import CLIP, ModelConfig, build_model
from diptych_training.objectives.kinds import predictive_objective
from diptych_training.objectives.predictive import Predictive, PredictiveModel
from diptych_training.objectives.words import Captions
from diptych_training.provenance import Provenance, drawings_of
from diptych_training.run_folder import RunFolder

Model = TypeVar("Model", bound=BaseModel)
AnyModule = TypeVar("AnyModule", bound=nn.Module)
Which = Literal["best", "last", "start"]
OS_ERROR = re.compile(r"\(os error ([0-9]+)\)")
MODEL, EMA, OPTIMIZER = "model.", "ema.", "optimizer."
ADAPTERS = "adapters."  # before `model.` and `ema.`, whose weights have them merged in


@dataclass(frozen=True)
class Checkpoint:
    """Named tensors (`model.*`, `ema.*`, `optimizer.*`, `adapters.*`) and a JSON state with at least
    `step`.
    """

    tensors: dict[str, Tensor]
    state: dict[str, Any]

    def under(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose names start with `prefix`, with the prefix removed."""
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}


@dataclass(frozen=True)
class PredictiveRun:
    """A trained run of an objective without a text tower, in evaluation mode, float32, on the CPU."""

    model: PredictiveModel
    image_spec: ImageSpec
    text_spec: TextSpec
    config: TrainConfig
    step: int


@dataclass(frozen=True)
class TrainedRun:
    """A trained run as evaluation and export use it; the model is in evaluation mode, float32, on the CPU."""

    folder: Path
    model: CLIP
    image_spec: ImageSpec
    text_spec: TextSpec
    tokenizer_file: Path
    model_config: ModelConfig
    config: TrainConfig
    step: int
    metrics: dict[str, float]
    history: dict[str, Any] = field(default_factory=dict)  # start, teachers, rehearsal, interpolation
    provenance: Provenance | None = None  # None: an older run without a record


def write_atomic(path: Path, payload: bytes) -> None:
    """Write to a temporary file, fsync, and rename it to `path`: a reader sees the old file or the new
    one.
    """
    with open_atomic(path) as file:
        file.write(payload)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file atomically, without a copy of the tensors in memory; they must be contiguous.

    Raises OSError if the file cannot be written.
    """
    with atomic_path(path) as part:
        try:
            save_file(dict(tensors), part, metadata)
        except SafetensorError as error:  # the library's own error for a full disk, among others
            found = OS_ERROR.search(str(error))
            if found is None:
                raise
            raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from error


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically. The state must be JSON; tensors may have any memory format and may share
    memory.
    """
    tensors: dict[str, Tensor] = {}
    written: set[int] = set()
    for name, tensor in checkpoint.tensors.items():
        stored = tensor.detach().contiguous()
        tensors[name] = stored.clone() if stored.data_ptr() in written else stored
        written.add(stored.data_ptr())
    write_tensors(path, tensors, {"state": json.dumps(checkpoint.state)})


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint into memory. Raises CheckpointError that names the file."""
    with _opened(path) as (file, state):
        return Checkpoint({name: file.get_tensor(name) for name in file.keys()}, state)  # noqa: SIM118


def checkpoint_step(path: Path) -> int:
    """Return the number of steps behind a checkpoint without reading a tensor. Raises CheckpointError."""
    with _opened(path) as (_, state):
        return int(state["step"])


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Open a checkpoint; yields the file and its state."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; has the run reached its first one?")
    try:
        with safe_open(path, framework="pt") as file:
            yield file, json.loads((file.metadata() or {})["state"])
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: not a checkpoint of this trainer ({error})") from error


def describe_mismatch(own: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> str | None:
    """Describe why stored tensors do not fit a model: the first differing name and how many more; None if
    they fit.
    """
    unmatched = sorted(own.keys() ^ stored.keys())
    shapes = [name for name in sorted(own.keys() & stored.keys()) if own[name].shape != stored[name].shape]
    if unmatched:
        wrong = f"the checkpoint {'lacks' if unmatched[0] in own else 'has an unknown'} {unmatched[0]}"
    elif shapes:
        first = shapes[0]
        stored_shape, own_shape = tuple(stored[first].shape), tuple(own[first].shape)
        wrong = f"{first} is {stored_shape} in the checkpoint, {own_shape} in the model"
    else:
        return None
    n_more = len(unmatched) + len(shapes) - 1
    return f"{wrong} (and {n_more} more do not fit)" if n_more else wrong


def load_run(run_dir: Path, which: Which = "best", *, last_by: str | None = None) -> TrainedRun:
    """Read a run folder and rebuild its model.

    `which`: the best weights by validation, the last ones (their average if the run keeps one), or those that
    the run started from. `last_by` is the flag with which a command selects the last checkpoint; error
    messages name it. Raises CheckpointError naming the file that is missing, unreadable or does not fit the
    model, or if the run has no text tower.
    """
    folder, checkpoint, config = _opened_run(run_dir, which, last_by)
    if config.predictive is not None:
        raise CheckpointError(
            f"{run_dir} was trained with {config.predictive.kind}, which has no text tower: "
            "`diptych-train evaluate` measures it, but it cannot be published or trained further"
        )
    model_config, provenance = _read_json(folder.model_file, ModelConfig), read_provenance(folder)
    return TrainedRun(
        folder=run_dir,
        model=_rebuild(build_model(model_config), checkpoint, run_dir),
        image_spec=_read_json(folder.image_spec_file, ImageSpec),
        text_spec=_read_json(folder.text_spec_file, TextSpec),
        tokenizer_file=folder.tokenizer_file,
        model_config=model_config,
        config=config,
        step=int(checkpoint.state["step"]),
        metrics=dict(checkpoint.state.get("metrics", {})),
        history=_history(config, checkpoint, provenance),
        provenance=provenance,
    )


def load_predictive_run(
    run_dir: Path, which: Which = "best", *, last_by: str | None = None
) -> PredictiveRun | None:
    """As `load_run`, for a run whose objective has no text tower; None for any other run."""
    folder, checkpoint, config = _opened_run(run_dir, which, last_by)
    build_objective = objective_builder(config, folder)
    if build_objective is None:
        return None
    model = PredictiveModel(_read_json(folder.model_file, ModelConfig), build_objective())
    return PredictiveRun(
        model=_rebuild(model, checkpoint, run_dir),
        image_spec=_read_json(folder.image_spec_file, ImageSpec),
        text_spec=_read_json(folder.text_spec_file, TextSpec),
        config=config,
        step=int(checkpoint.state["step"]),
    )


def objective_builder(config: TrainConfig, folder: RunFolder) -> Callable[[], Predictive] | None:
    """Return the builder of the objective of a run without a text tower; None for other runs.

    Raises CheckpointError if a file of the run is missing.
    """
    predictive = config.predictive
    if predictive is None:
        return None
    try:
        entries = json.loads(folder.dictionary_file.read_bytes()) if predictive.n_entries else {}
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder.dictionary_file} is missing: the run folder is incomplete") from error
    dictionary = entries if isinstance(entries, dict) else dict.fromkeys(entries, 1)
    captions = Captions(folder.tokenizer_file, config.text)
    return lambda: predictive_objective(predictive, config.model, captions, dictionary)


def _opened_run(
    run_dir: Path, which: Which, last_by: str | None
) -> tuple[RunFolder, Checkpoint, TrainConfig]:
    """The folder of a run, one of its checkpoints, and its recipe."""
    if not run_dir.is_dir():
        known = sorted(file.parent.name for file in run_dir.parent.glob("*/model.json"))
        raise CheckpointError(
            f"{run_dir}: no such run, there are: {', '.join(known) or 'none'}; a folder is named by a path, "
            f"as in ./{run_dir.name}"
        )
    folder = RunFolder(run_dir)
    if which == "best" and not folder.best.is_file() and folder.config_file.is_file():
        alternative = f", or name {last_by}" if last_by is not None and folder.last.is_file() else ""
        raise CheckpointError(f"{run_dir}: not validated yet; continue with --resume{alternative}")
    checkpoint = read_checkpoint({"best": folder.best, "last": folder.last, "start": folder.start}[which])
    return folder, checkpoint, read_config(folder.config_file)


def read_provenance(folder: RunFolder) -> Provenance | None:
    """Read the record of what a run learned from; None if it has none. Raises CheckpointError if it is
    unreadable.
    """
    return _read_json(folder.provenance_file, Provenance) if folder.provenance_file.is_file() else None


def _history(config: TrainConfig, checkpoint: Checkpoint, learned: Provenance | None) -> dict[str, Any]:
    started = {} if config.start is None else {"started_from": config.start.source}
    if config.start_image is not None:
        drawings = drawings_of(config, learned)
        started = {"image_tower_from": config.start_image.title}
        started |= {} if drawings is None else {"drawings_from": drawings}
    names = [] if config.distill is None else list(config.distill.teachers)
    if config.text_teacher is not None:
        names.append(config.text_teacher.title)
    teachers = {"taught_by": names} if names else {}
    shares = {Path(one.data).name: one.share for one in config.data.rehearsal.values()}
    rehearsed = {"rehearsed": shares} if shares else {}
    mixed = checkpoint.state.get("interpolated")
    return {**started, **teachers, **rehearsed, **({} if mixed is None else {"interpolated": mixed})}


def _rebuild(model: AnyModule, checkpoint: Checkpoint, run_dir: Path) -> AnyModule:
    weights = checkpoint.under(EMA) or checkpoint.under(MODEL)
    wrong = describe_mismatch(model.state_dict(), weights)
    if wrong is not None:
        raise CheckpointError(f"{run_dir}: the weights do not fit model.json: {wrong}")
    model.load_state_dict(weights)
    return model.eval()


def _read_json(path: Path, kind: type[Model]) -> Model:
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing: the run folder is incomplete") from error
    except ValidationError as error:
        raise CheckpointError(f"{path}: {error}") from error

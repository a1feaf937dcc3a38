"""The models that teach a run: found, held against its recipe, kept with it; knows nothing of losses."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ValidationError
from tokenizers import Tokenizer

from diptych.bundle.manifest import ImageSpec, TextSpec
from diptych_training.checkpoint import MODEL, Checkpoint, read_checkpoint
from diptych_training.config import StartConfig, TrainConfig
from diptych_training.config.explain import format_value
from diptych_training.errors import CheckpointError, TrainingConfigError
from diptych_training.finetune.origin import Origin, open_own
from diptych_training.models import CLIP, ModelConfig, build_model
from diptych_training.run_folder import RunFolder
from diptych_training.train.distributed.parallel import load_full
from diptych_training.train.distributed.ranks import Ranks

TeacherOrigins = Mapping[str, Origin]  # by what the recipe calls them, in its order
OpenTeachers = Callable[[], TeacherOrigins]
KEY = "distill.teachers"
NOT_COMPARED = "prompts"  # of `text`: what a batch holds is the run's own


@dataclass(frozen=True)
class Teachers:
    """Models in evaluation mode that learn nothing, and their share of the loss."""

    models: tuple[CLIP, ...]
    weight: float


def open_teachers(config: TrainConfig, runs_dir: Path, model_repo: Path) -> dict[str, Origin]:
    """Those of the recipe. CheckpointError naming the one that is not there, or has no weights."""
    names = () if config.distill is None else config.distill.teachers
    return {name: _open(name, runs_dir, model_repo) for name in names}


def _open(name: str, runs_dir: Path, model_repo: Path) -> Origin:
    try:
        found = open_own(StartConfig(source=name), runs_dir, model_repo)
    except CheckpointError as error:
        found = error
    if isinstance(found, CheckpointError):
        raise CheckpointError(f"{KEY}: {found}") from found
    return found


def teacher_checkpoints(config: TrainConfig, found: TeacherOrigins, tokenizer: Tokenizer) -> list[Checkpoint]:
    """What a run keeps of its teachers, architecture and weights.

    Raises TrainingConfigError unless each reads images and texts as the run does, by the same tokenizer.
    """
    for name, origin in found.items():
        _check(name, origin, config, tokenizer)
    return [_kept(origin) for origin in found.values()]


def load_teachers(folder: RunFolder, config: TrainConfig, ranks: Ranks) -> Teachers | None:
    """Those that a run keeps, whole in every rank. Raises CheckpointError naming the file that is amiss."""
    if config.distill is None:
        return None
    files = [folder.teacher(number) for number in range(len(config.distill.teachers))]
    models = [_load(file).to(ranks.device) for file in files]
    if config.run.channels_last:
        models = [model.to(memory_format=torch.channels_last) for model in models]  # type: ignore[call-overload]
    return Teachers(tuple(models), config.distill.weight)


def _kept(origin: Origin) -> Checkpoint:
    model = ModelConfig.model_validate(origin.tables["model"])
    tensors = {f"{MODEL}{name}": tensor for name, tensor in origin.weights(model).items()}
    return Checkpoint(tensors, {"step": 0, "source": origin.title, "model": model.model_dump(mode="json")})


def _load(file: Path) -> CLIP:
    if not file.is_file():
        raise CheckpointError(f"{file} is missing: the run folder is incomplete")
    checkpoint = read_checkpoint(file)
    try:
        model = build_model(ModelConfig.model_validate(checkpoint.state["model"]))
        load_full(model, checkpoint.under(MODEL))
    except (KeyError, ValidationError, CheckpointError) as error:
        raise CheckpointError(f"{file} is no teacher that a run keeps: {error}") from error
    return model.eval().requires_grad_(False)


def _check(name: str, origin: Origin, config: TrainConfig, tokenizer: Tokenizer) -> None:
    teacher = ModelConfig.model_validate(origin.tables["model"])
    if origin.tables["loss"] != "softmax":
        raise TrainingConfigError(
            f'{KEY}: {name} learned by the {origin.tables["loss"]} loss: only "softmax" gives probabilities'
        )
    _require_same(
        name, "preprocess", ImageSpec.model_validate(origin.tables["preprocess"]), config.preprocess
    )
    _require_same(name, "text", TextSpec.model_validate(origin.tables["text"]), config.text)
    vocab_size = config.model.text.vocab_size
    if teacher.text.vocab_size != vocab_size:
        raise _unlike(name, "model.text.vocab_size", teacher.text.vocab_size, vocab_size)
    if origin.tokenizer.to_str() != tokenizer.to_str():
        whose = "another teacher" if config.start is None else f"the start, {config.start.source}"
        raise TrainingConfigError(
            f"{KEY}: {name} has another tokenizer than {whose}: it would read other words"
        )
    start_size, stride = config.run.start_size, teacher.image.stride
    if start_size is not None and start_size % stride:
        raise TrainingConfigError(
            f"{KEY}: run.start_size {start_size} must be a multiple of the stride of {name}, {stride}"
        )


def _require_same(name: str, table: str, theirs: BaseModel, ours: BaseModel) -> None:
    for key, value in ours:
        if key != NOT_COMPARED and getattr(theirs, key) != value:
            raise _unlike(name, f"{table}.{key}", getattr(theirs, key), value)


def _unlike(name: str, key: str, theirs: object, ours: object) -> TrainingConfigError:
    return TrainingConfigError(
        f"{KEY}: {key} of {name} is {format_value(theirs)}, in the recipe it is {format_value(ours)}: "
        "they must be the same"
    )

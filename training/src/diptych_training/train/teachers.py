"""The teachers of a run (distillation): opened, checked against the recipe, and stored in the run folder."""

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
from diptych_training.importing.source_model import SourceModel, open_own_model
from diptych_training.models import CLIP, ModelConfig, build_model
from diptych_training.run_folder import RunFolder
from diptych_training.train.batches.batch import Batch
from diptych_training.train.distributed.parallel import load_full
from diptych_training.train.distributed.ranks import Ranks

TeacherModels = Mapping[str, SourceModel]  # by their names in the recipe, in its order
OpenTeachers = Callable[[], TeacherModels]
KEY = "distill.teachers"
NOT_COMPARED = "prompts"  # of `text`: batches use the run's own


@dataclass(frozen=True)
class Teachers:
    """Frozen models in evaluation mode, their weight in the loss, and whether they teach rehearsed items
    only.
    """

    models: tuple[CLIP, ...]
    weight: float
    on_rehearsed: bool = False

    def distilled_rows(self, batch: Batch) -> slice:
        """The rows of a batch that are distilled."""
        return slice(len(batch.keys) - batch.n_rehearsed if self.on_rehearsed else 0, None)


def open_teachers(config: TrainConfig, runs_dir: Path, model_repo: Path) -> dict[str, SourceModel]:
    """Open the teachers of the recipe. Raises CheckpointError naming the one that is missing or has no
    weights.
    """
    names = () if config.distill is None else config.distill.teachers
    return {name: _open(name, runs_dir, model_repo) for name in names}


def _open(name: str, runs_dir: Path, model_repo: Path) -> SourceModel:
    try:
        found = open_own_model(StartConfig(source=name), runs_dir, model_repo)
    except CheckpointError as error:
        found = error
    if isinstance(found, CheckpointError):
        raise CheckpointError(f"{KEY}: {found}") from found
    return found


def teacher_checkpoints(config: TrainConfig, found: TeacherModels, tokenizer: Tokenizer) -> list[Checkpoint]:
    """The checkpoints of the teachers that a run stores, architecture and weights.

    Raises TrainingConfigError unless each prepares images and texts as the run does, with the same tokenizer.
    """
    for name, source_model in found.items():
        _check(name, source_model, config, tokenizer)
    return [_checkpoint_of(source_model) for source_model in found.values()]


def load_teachers(folder: RunFolder, config: TrainConfig, ranks: Ranks) -> Teachers | None:
    """Load the teachers that a run stores, whole in every rank. Raises CheckpointError naming the faulty
    file.
    """
    if config.distill is None:
        return None
    files = [folder.teacher(number) for number in range(len(config.distill.teachers))]
    models = [_load(file).to(ranks.device) for file in files]
    if config.run.channels_last:
        models = [model.to(memory_format=torch.channels_last) for model in models]  # type: ignore[call-overload]
    return Teachers(tuple(models), config.distill.weight, config.distill.on == "rehearsed")


def _checkpoint_of(source_model: SourceModel) -> Checkpoint:
    model = ModelConfig.model_validate(source_model.tables["model"])
    tensors = {f"{MODEL}{name}": tensor for name, tensor in source_model.weights(model).items()}
    return Checkpoint(
        tensors, {"step": 0, "source": source_model.title, "model": model.model_dump(mode="json")}
    )


def _load(file: Path) -> CLIP:
    if not file.is_file():
        raise CheckpointError(f"{file} is missing: the run folder is incomplete")
    checkpoint = read_checkpoint(file)
    try:
        model = build_model(ModelConfig.model_validate(checkpoint.state["model"]))
        load_full(model, checkpoint.under(MODEL))
    except (KeyError, ValidationError, CheckpointError) as error:
        raise CheckpointError(f"{file} is not a teacher of a run: {error}") from error
    return model.eval().requires_grad_(False)


def _check(name: str, source_model: SourceModel, config: TrainConfig, tokenizer: Tokenizer) -> None:
    teacher = ModelConfig.model_validate(source_model.tables["model"])
    if source_model.tables["loss"] != "softmax":
        raise TrainingConfigError(
            f"{KEY}: {name} was trained with the {source_model.tables['loss']} loss: "
            'only "softmax" gives probabilities'
        )
    _require_same_embeddings(
        name, "preprocess", ImageSpec.model_validate(source_model.tables["preprocess"]), config.preprocess
    )
    _require_same_embeddings(name, "text", TextSpec.model_validate(source_model.tables["text"]), config.text)
    vocab_size = config.model.text.vocab_size
    if teacher.text.vocab_size != vocab_size:
        raise _difference_error(name, "model.text.vocab_size", teacher.text.vocab_size, vocab_size)
    if source_model.tokenizer.to_str() != tokenizer.to_str():
        whose = "another teacher" if config.start is None else f"the start, {config.start.source}"
        raise TrainingConfigError(
            f"{KEY}: {name} has another tokenizer than {whose}: it would split texts into other tokens"
        )
    start_size, stride = config.run.start_size, teacher.image.stride
    if start_size is not None and start_size % stride:
        raise TrainingConfigError(
            f"{KEY}: run.start_size {start_size} must be a multiple of the stride of {name}, {stride}"
        )


def _require_same_embeddings(name: str, table: str, theirs: BaseModel, ours: BaseModel) -> None:
    for key, value in ours:
        if key != NOT_COMPARED and getattr(theirs, key) != value:
            raise _difference_error(name, f"{table}.{key}", getattr(theirs, key), value)


def _difference_error(name: str, key: str, theirs: object, ours: object) -> TrainingConfigError:
    return TrainingConfigError(
        f"{KEY}: {key} of {name} is {format_value(theirs)}, in the recipe it is {format_value(ours)}: "
        "they must be the same"
    )

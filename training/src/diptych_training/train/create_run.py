"""Creates the folder of a new run: recipe, tokenizer, provenance, and the weights of start and teachers."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel
from tokenizers import Tokenizer

from diptych.bundle.manifest import TextSpec
from diptych_training.checkpoint import MODEL, Checkpoint, write_atomic, write_checkpoint
from diptych_training.config import TrainConfig, dump_config
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import TrainingConfigError
from diptych_training.finetune.origin import Origin
from diptych_training.models import ModelConfig
from diptych_training.provenance import collect_provenance
from diptych_training.run_folder import RunFolder
from diptych_training.tokenizer import END, train_tokenizer, write_tokenizer
from diptych_training.train.teachers import OpenTeachers, TeacherOrigins, teacher_checkpoints


def create_run(
    path: Path,
    config: TrainConfig,
    dataset: PackedDataset,
    texts: Iterable[str],
    origin: Origin | None = None,
    *,
    open_teachers: OpenTeachers = dict,
) -> RunFolder:
    """Write recipe, architecture, preprocessing, tokenizer, what it learns from, and the weights that it
    starts from and those that teach it, if any.

    Raises TrainingConfigError if the folder holds a run that has come as far as a checkpoint; one that failed
    before that is replaced. Nothing is written if the recipe has no use for its data.
    """
    folder = RunFolder(path)
    if folder.last.exists() or folder.best.exists():
        raise TrainingConfigError(f"{path} has a run already: go on with --resume, or choose another --name")
    found = open_teachers()
    tokenizer = _tokenizer(config, texts, origin, found)
    teachers = teacher_checkpoints(config, found, tokenizer)
    start = None if origin is None else _start(config, origin)
    licences = {} if origin is None else {origin.title: origin.licence}
    taught_by = {name: teacher.licence for name, teacher in found.items()}
    learned = collect_provenance(dataset, config, licences, taught_by)
    path.mkdir(parents=True, exist_ok=True)
    folder.config_file.unlink(missing_ok=True)
    folder.start.unlink(missing_ok=True)
    if start is not None:
        write_checkpoint(folder.start, start)
    shutil.rmtree(folder.teacher(0).parent, ignore_errors=True)
    for number, teacher in enumerate(teachers):
        write_checkpoint(folder.teacher(number), teacher)
    write_tokenizer(tokenizer, folder.tokenizer_file)
    write_atomic(folder.provenance_file, learned.model_dump_json(indent=1).encode())
    write_atomic(folder.model_file, config.model.model_dump_json(indent=1).encode())
    write_atomic(folder.image_spec_file, config.preprocess.model_dump_json(indent=1).encode())
    write_atomic(folder.text_spec_file, config.text.model_dump_json(indent=1).encode())
    write_atomic(
        folder.config_file, dump_config(config).encode()
    )  # last: its presence says that the rest is there
    return folder


def _tokenizer(
    config: TrainConfig, texts: Iterable[str], origin: Origin | None, found: TeacherOrigins
) -> Tokenizer:
    """What the model already reads, or its first teacher, or one that is learned from the data's texts."""
    for known in (origin, *found.values()):
        if known is not None:
            return known.tokenizer
    tokenizer = train_tokenizer(texts, config.model.text.vocab_size, config.text.clean)
    _check_padding(tokenizer, config)
    return tokenizer


def _start(config: TrainConfig, origin: Origin) -> Checkpoint:
    """The weights at the size of the recipe's images: what training changes, and is held against later."""
    check_start(config, origin)
    tensors = {f"{MODEL}{name}": tensor for name, tensor in origin.weights(config.model).items()}
    return Checkpoint(tensors, {"step": 0, "metrics": {}, "source": origin.title})


def _check_padding(tokenizer: Tokenizer, config: TrainConfig) -> None:
    end_id = tokenizer.token_to_id(END)
    assert end_id is not None
    if config.text.pad_id > end_id:
        raise TrainingConfigError(
            f"text.pad_id is {config.text.pad_id}, it must be at most {end_id}, the id of {END}: "
            "a text is read at its largest id"
        )


CHANGEABLE_KEYS = {
    "model.image_size",
    "text.prompts",
}  # what a recipe may say otherwise; images may be prepared in any way


def check_start(config: TrainConfig, origin: Origin) -> None:
    """Raises TrainingConfigError naming the key in which the recipe contradicts its start."""
    for table, kind, ours in (("model", ModelConfig, config.model), ("text", TextSpec, config.text)):
        if table not in origin.tables:
            continue  # it does not say: its weights will
        for key in _differing(kind.model_validate(origin.tables[table]), ours, table):
            if key not in CHANGEABLE_KEYS:
                whose = f"{origin.title}, which the run starts from"
                raise TrainingConfigError(f"{key} is not that of {whose}: leave it out of the recipe")


def _differing(theirs: BaseModel, ours: BaseModel, prefix: str) -> list[str]:
    """Keys, with their tables, whose values differ; a table of another kind differs as a whole."""
    found = []
    for key, value in ours:
        before, path = getattr(theirs, key), f"{prefix}.{key}"
        if isinstance(value, BaseModel) and type(value) is type(before):
            found += _differing(before, value, path)
        elif value != before:
            found.append(path)
    return found

"""Creation of a new run folder: recipe, tokenizer, provenance, and the weights of start and teachers."""

import shutil
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

import torch
from pydantic import BaseModel
from tokenizers import Tokenizer

from diptych.bundle.manifest import TextSpec
from diptych_training.checkpoint import MODEL, Checkpoint, write_atomic, write_checkpoint
from diptych_training.config import TrainConfig, dump_config
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import TrainingConfigError
from diptych_training.finetune.pretrained import load_image_tower
from diptych_training.finetune.source_model import SourceModel
from diptych_training.models import ModelConfig, build_model
from diptych_training.proof_set.file import read_proof_set_file
from diptych_training.provenance import collect_provenance
from diptych_training.run_folder import RunFolder
from diptych_training.text_teacher.taught_texts import taught_texts
from diptych_training.tokenizer import END, train_tokenizer, write_tokenizer
from diptych_training.train.distributed.ranks import CPU
from diptych_training.train.objective import write_dictionary
from diptych_training.train.teachers import OpenTeachers, TeacherModels, teacher_checkpoints


def create_run(
    path: Path,
    config: TrainConfig,
    dataset: PackedDataset,
    texts: Iterable[Sequence[str]],
    source_model: SourceModel | None = None,
    *,
    open_teachers: OpenTeachers = dict,
    device: torch.device = CPU,
) -> RunFolder:
    """Write the recipe, architecture, preprocessing, tokenizer and provenance, the weights of start and
    teachers, the start model's proof set, and the objective's dictionary. `texts` are those of each item. A
    text teacher embeds its texts on `device`.

    Raises TrainingConfigError if the folder holds a run with a checkpoint; a run that failed earlier is
    replaced. Nothing is written if the recipe does not fit its data.
    """
    folder = RunFolder(path)
    if folder.last.exists() or folder.best.exists():
        raise TrainingConfigError(
            f"{path} has a run already: continue it with --resume, or choose another --name"
        )
    teacher_models = open_teachers()
    if config.text_teacher is not None or (config.predictive is not None and config.predictive.n_entries):
        texts = list(texts)  # read twice
    tokenizer = _tokenizer(config, texts, source_model, teacher_models)
    teachers = teacher_checkpoints(config, teacher_models, tokenizer)
    start = _image_start(config) if source_model is None else _start(config, source_model)
    proof_set = None if source_model is None else _proof_set(source_model)
    licences = {} if source_model is None else {source_model.title: source_model.licence}
    if config.start_image is not None:
        licences[config.start_image.title] = config.start_image.licence
    taught_by = {name: teacher.licence for name, teacher in teacher_models.items()}
    taught = None
    if config.text_teacher is not None:
        taught_by[config.text_teacher.title] = config.text_teacher.licence
        captions = chain.from_iterable(texts)
        taught = taught_texts(config.text_teacher, captions, config.model.embed_dim, device)
    learned = collect_provenance(dataset, config, licences, taught_by)
    path.mkdir(parents=True, exist_ok=True)
    folder.config_file.unlink(missing_ok=True)
    for left in (folder.start, folder.proof_set_file):
        left.unlink(missing_ok=True)
    if start is not None:
        write_checkpoint(folder.start, start)
    if proof_set is not None:
        write_atomic(folder.proof_set_file, proof_set)
    shutil.rmtree(folder.teacher(0).parent, ignore_errors=True)
    for number, teacher in enumerate(teachers):
        write_checkpoint(folder.teacher(number), teacher)
    if taught is not None:
        taught.write(folder.taught_texts_file)
    write_tokenizer(tokenizer, folder.tokenizer_file)
    write_dictionary(folder, config, texts)
    write_atomic(folder.provenance_file, learned.model_dump_json(indent=1).encode())
    write_atomic(folder.model_file, config.model.model_dump_json(indent=1).encode())
    write_atomic(folder.image_spec_file, config.preprocess.model_dump_json(indent=1).encode())
    write_atomic(folder.text_spec_file, config.text.model_dump_json(indent=1).encode())
    # Written last: its presence means that the folder is complete.
    write_atomic(folder.config_file, dump_config(config).encode())
    return folder


def _tokenizer(
    config: TrainConfig,
    texts: Iterable[Sequence[str]],
    source_model: SourceModel | None,
    found: TeacherModels,
) -> Tokenizer:
    """The tokenizer of the start model, else of the first teacher, else one trained on the texts of the
    data.
    """
    for known in (source_model, *found.values()):
        if known is not None:
            return known.tokenizer
    tokenizer = train_tokenizer(chain.from_iterable(texts), config.model.text.vocab_size, config.text.clean)
    _check_padding(tokenizer, config)
    return tokenizer


def _start(config: TrainConfig, source_model: SourceModel) -> Checkpoint:
    """The start weights at the recipe's image size; training changes them, and evaluation compares against
    them.
    """
    check_start(config, source_model)
    tensors = {f"{MODEL}{name}": tensor for name, tensor in source_model.weights(config.model).items()}
    return Checkpoint(tensors, {"step": 0, "metrics": {}, "source": source_model.title})


def _image_start(config: TrainConfig) -> Checkpoint | None:
    """The random weights that the run would begin with, and the image tower of `start_image` among them.

    Raises ImportFailed or CheckpointError if its weights cannot be read or do not fit.
    """
    if config.start_image is None:
        return None
    file = Path(config.start_image.source).expanduser()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        tensors = build_model(config.model).state_dict()
    tensors |= load_image_tower(file, config.model)
    state = {"step": 0, "metrics": {}, "source": config.start_image.title}
    return Checkpoint({f"{MODEL}{name}": tensor for name, tensor in tensors.items()}, state)


def _proof_set(source_model: SourceModel) -> bytes | None:
    """The start model's proof set, so that the run can be exported after that model is gone.

    Raises DataError if it is damaged: an export would fail hours later.
    """
    if source_model.proof_set is None:
        return None
    read_proof_set_file(source_model.proof_set)
    return source_model.proof_set.read_bytes()


def _check_padding(tokenizer: Tokenizer, config: TrainConfig) -> None:
    end_id = tokenizer.token_to_id(END)
    assert end_id is not None
    if config.text.pad_id > end_id:
        raise TrainingConfigError(
            f"text.pad_id is {config.text.pad_id}, it must be at most {end_id}, the id of {END}: "
            "a text is read at its largest id"
        )


# A recipe may differ from its start in these keys, and in all of `preprocess`.
CHANGEABLE_KEYS = {"model.image_size", "text.prompts"}


def check_start(config: TrainConfig, source_model: SourceModel) -> None:
    """Raise TrainingConfigError naming the key in which the recipe contradicts the model that it starts
    from.
    """
    for table, kind, ours in (("model", ModelConfig, config.model), ("text", TextSpec, config.text)):
        if table not in source_model.tables:
            continue  # not stated; checked when its weights are loaded
        for key in _differing(kind.model_validate(source_model.tables[table]), ours, table):
            if key not in CHANGEABLE_KEYS:
                whose = f"{source_model.title}, which the run starts from"
                raise TrainingConfigError(f"{key} differs from {whose}: leave it out of the recipe")


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

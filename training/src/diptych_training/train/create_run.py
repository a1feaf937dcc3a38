"""Creation of a new run folder: recipe, tokenizer, provenance, and the weights of start and teachers."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path

import torch
from pydantic import BaseModel
from tokenizers import Tokenizer

from diptych.bundle.manifest import TextSpec
from diptych_training.checkpoint import MODEL, Checkpoint, write_atomic, write_checkpoint
from diptych_training.config import TrainConfig, dump_config
from diptych_training.data.packed import PackedDataset, read_dataset
from diptych_training.errors import TrainingConfigError
from diptych_training.evaluate.proof_set.file import read_proof_set_file
from diptych_training.importing.source_model import SourceModel
from diptych_training.models import ModelConfig, build_model
from diptych_training.paths import expanded
from diptych_training.provenance import collect_provenance
from diptych_training.run_folder import RunFolder
from diptych_training.train.align.class_names import class_names
from diptych_training.train.align.start import aligned_start
from diptych_training.train.distributed.ranks import CPU
from diptych_training.train.objective import write_dictionary
from diptych_training.train.teachers import OpenTeachers, TeacherModels, teacher_checkpoints
from diptych_training.train.text_teacher.teacher_texts import TeacherTexts, teacher_texts
from diptych_training.train.tokenizer import END, train_tokenizer, write_tokenizer

OpenDrawings = Callable[[], SourceModel | None]


def create_run(
    path: Path,
    config: TrainConfig,
    dataset: PackedDataset,
    texts: Iterable[Sequence[str]],
    source_model: SourceModel | None = None,
    *,
    open_teachers: OpenTeachers = dict,
    open_drawings: OpenDrawings = lambda: None,
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
    teacher_models, drawings = open_teachers(), open_drawings()
    if config.text_teacher is not None or (config.predictive is not None and config.predictive.n_entries):
        texts = list(texts)  # read twice
    teacher_texts = _teacher_texts(config, texts, device)
    if source_model is None:
        tokenizer, start = _new_start(config, dataset, texts, teacher_texts, drawings, device=device)
    else:
        tokenizer, start = source_model.tokenizer, _start(config, source_model)
    tokenizer = tokenizer or _tokenizer(config, texts, teacher_models)
    teachers = teacher_checkpoints(config, teacher_models, tokenizer)
    proof_set = None if source_model is None else _proof_set(source_model)
    licences = {one.title: one.licence for one in (source_model, drawings, config.start_image) if one}
    licences |= _clip_art(config)
    taught_by = {name: teacher.licence for name, teacher in teacher_models.items()}
    if config.text_teacher is not None:
        taught_by[config.text_teacher.title] = config.text_teacher.licence
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
    if teacher_texts is not None:
        teacher_texts.write(folder.teacher_texts_file)
    write_tokenizer(tokenizer, folder.tokenizer_file)
    write_dictionary(folder, config, texts)
    write_atomic(folder.provenance_file, learned.model_dump_json(indent=1).encode())
    write_atomic(folder.model_file, config.model.model_dump_json(indent=1).encode())
    write_atomic(folder.image_spec_file, config.preprocess.model_dump_json(indent=1).encode())
    write_atomic(folder.text_spec_file, config.text.model_dump_json(indent=1).encode())
    # Written last: its presence means that the folder is complete.
    write_atomic(folder.config_file, dump_config(config).encode())
    return folder


def _teacher_texts(
    config: TrainConfig, texts: Iterable[Sequence[str]], device: torch.device
) -> TeacherTexts | None:
    if config.text_teacher is None:
        return None
    captions = chain.from_iterable(texts)
    classes = None if config.start_image is None else config.start_image.classes
    names = [] if classes is None else class_names(classes)
    return teacher_texts(config.text_teacher, captions, config.model.embed_dim, device, names)


def _new_start(
    config: TrainConfig,
    dataset: PackedDataset,
    texts: Iterable[Sequence[str]],
    teacher_texts: TeacherTexts | None,
    drawings: SourceModel | None,
    *,
    device: torch.device,
) -> tuple[Tokenizer | None, Checkpoint | None]:
    """The tokenizer that the text tower brings, if any, and the random weights that the run would begin with
    with those of others among them; None if there are none.

    Raises ImportFailed, CheckpointError or TrainingConfigError if others' weights cannot be read or do not
    fit.
    """
    known = () if teacher_texts is None else chain(chain.from_iterable(texts), teacher_texts.texts)
    space = None if teacher_texts is None else teacher_texts.space
    tokenizer, weights = aligned_start(config, dataset, known, space, drawings, device=device)
    if not weights:
        return tokenizer, None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        tensors = build_model(config.model).state_dict()
    tensors |= weights
    parts = [one.title for one in (config.start_image, drawings) if one is not None]
    state = {"step": 0, "metrics": {}, "source": " and ".join(parts)}
    return tokenizer, Checkpoint({f"{MODEL}{name}": tensor for name, tensor in tensors.items()}, state)


def _clip_art(config: TrainConfig) -> dict[str, str]:
    """The licences of the clip art that teaches the gate, by source."""
    if config.start_image is None or config.start_image.clip_art is None:
        return {}
    dataset = read_dataset(expanded(config.start_image.clip_art))
    return {f"{dataset.name}/{name}": entry.licence for name, entry in dataset.listed("train")}


def _tokenizer(config: TrainConfig, texts: Iterable[Sequence[str]], found: TeacherModels) -> Tokenizer:
    """The tokenizer of the first teacher, else one trained on the texts of the data."""
    for known in found.values():
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

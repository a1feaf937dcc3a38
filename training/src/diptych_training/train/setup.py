"""Prepare a new run folder or take up an old one; knows nothing of the loop."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError
from tokenizers import Tokenizer

from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.checkpoint import MODEL, Checkpoint, write_atomic, write_checkpoint
from diptych_training.config import Tables, TrainConfig, dump_config, read_config
from diptych_training.config.explain import shown
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import CheckpointError, TrainingConfigError
from diptych_training.evaluate.zero_shot import TOP_K
from diptych_training.finetune.origin import Origin
from diptych_training.learned import LearnedFrom, changed_source, learned_from
from diptych_training.run_folder import RunFolder
from diptych_training.tokenizer import END, train_tokenizer, write_tokenizer
from diptych_training.train.defaults import as_it_ran
from diptych_training.train.distributed.ranks import Ranks
from diptych_training.train.start import check_start
from diptych_training.train.teachers import Found, OpenTeachers, kept_teachers

# Of `data.pairs`, when a run goes on.
FREE_OF_PAIRS = ("workers", "max_skipped", "tokenizer_pairs", "accept_changes")


def check_validation(dataset: PackedDataset, config: TrainConfig) -> None:
    """Raises TrainingConfigError unless validation will give every metric that `run.best_by` names."""
    kinds = {entry.kind for _, entry in dataset.listed("validation")}
    given = [f"{kind}_top{k}" for kind in sorted(kinds) for k in TOP_K]
    missing = [name for name in config.run.best_by if name not in given]
    if missing:
        raise TrainingConfigError(
            f"run.best_by names {', '.join(missing)}; "
            f"validation on {dataset.path} gives {', '.join(given) or 'nothing: it has no validation source'}"
        )


def check_shares(config: TrainConfig, ranks: Ranks) -> None:
    """Raises TrainingConfigError if the batch cannot be shared evenly, or there are none to share with."""
    n = config.run.batch_size
    if n % ranks.world_size:
        raise TrainingConfigError(
            f"run.batch_size is {n}: it must be a multiple of the number of ranks, {ranks.world_size}"
        )
    for name, n_old in config.rehearsed.items():
        if n_old % ranks.world_size:
            raise TrainingConfigError(
                f"data.rehearsal.{name}.share is {n_old} items of run.batch_size {n}: "
                f"it must be a multiple of the number of ranks, {ranks.world_size}"
            )
    pairs = config.data.pairs
    if pairs is not None and pairs.streams % ranks.world_size:
        raise TrainingConfigError(
            f"data.pairs.streams is {pairs.streams}: it must be a multiple of the number of ranks, "
            f"{ranks.world_size}"
        )
    if config.scale.shard and ranks.is_alone:
        raise TrainingConfigError(
            "scale.shard shares weights among ranks, and here is one alone: start it by torchrun"
        )


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
    teachers = kept_teachers(config, found, tokenizer)
    start = None if origin is None else _start(config, origin)
    licences = {} if origin is None else {origin.title: origin.licence}
    taught_by = {name: teacher.licence for name, teacher in found.items()}
    learned = learned_from(dataset, config, licences, taught_by)
    path.mkdir(parents=True, exist_ok=True)
    folder.config_file.unlink(missing_ok=True)
    folder.start.unlink(missing_ok=True)
    if start is not None:
        write_checkpoint(folder.start, start)
    shutil.rmtree(folder.teacher(0).parent, ignore_errors=True)
    for number, teacher in enumerate(teachers):
        write_checkpoint(folder.teacher(number), teacher)
    write_tokenizer(tokenizer, folder.tokenizer_file)
    write_atomic(folder.learned_file, learned.model_dump_json(indent=1).encode())
    write_atomic(folder.model_file, config.model.model_dump_json(indent=1).encode())
    write_atomic(folder.image_spec_file, config.preprocess.model_dump_json(indent=1).encode())
    write_atomic(folder.text_spec_file, config.text.model_dump_json(indent=1).encode())
    write_atomic(
        folder.config_file, dump_config(config).encode()
    )  # last: its presence says that the rest is there
    return folder


def _tokenizer(config: TrainConfig, texts: Iterable[str], origin: Origin | None, found: Found) -> Tokenizer:
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


def open_run(path: Path, config: TrainConfig) -> TrainConfig:
    """The recipe of an existing run, which may be another only in what changes nothing of what is learned:
    `scale`, and how pairs are read. TrainingConfigError names the first key that differs.
    """
    folder = RunFolder(path)
    if not folder.config_file.is_file():
        raise TrainingConfigError(f"{path} has no run to resume: start it without --resume")
    ran = read_config(folder.config_file)
    differs = difference(ran, config)
    if differs is not None:
        raise TrainingConfigError(f"{path}: {differs}: use another --name")
    return as_it_ran(config, ran)


def check_same_data(folder: RunFolder, config: TrainConfig, dataset: PackedDataset) -> None:
    """Raises TrainingConfigError that names the first source that is not what the run learned from so far.

    A run of an earlier release that keeps no such record, or one without hashes, goes on.
    """
    try:
        before = LearnedFrom.model_validate_json(folder.learned_file.read_bytes())
    except (FileNotFoundError, ValidationError):
        return
    changed = changed_source(before, learned_from(dataset, config, {}))
    if changed is not None:
        raise TrainingConfigError(
            f"{folder.path}: {changed} is not what the run began with: what it learned from may be in "
            "validation now. Use another --name, or make the data set again of what it was made from"
        )


def difference(ran: TrainConfig, now: TrainConfig) -> str | None:
    """The first key by which a run's recipe is not this one, and its two values; None if it is the same.

    What this one leaves open is the same.
    """
    now = as_it_ran(now, ran)
    before = _with_what_is_free(ran, now)
    if before == now:
        return None
    was, is_ = (one.model_dump(mode="json", exclude_none=True) for one in (before, now))
    return _first_difference(was, is_)


def _with_what_is_free(before: TrainConfig, now: TrainConfig) -> TrainConfig:
    """`before` with those keys of `now` that a run may change on its way."""
    changed = before.model_copy(update={"scale": now.scale})
    if before.data.pairs is None or now.data.pairs is None:
        return changed
    pairs = before.data.pairs.model_copy(update={key: getattr(now.data.pairs, key) for key in FREE_OF_PAIRS})
    return changed.model_copy(update={"data": before.data.model_copy(update={"pairs": pairs})})


def load_tokenizer(folder: RunFolder, config: TrainConfig) -> TextTokenizer:
    """The run's tokenizer, as the server will read it. Raises CheckpointError if it is not there."""
    if not folder.tokenizer_file.is_file():
        raise CheckpointError(f"{folder.tokenizer_file} is missing: the run folder is incomplete")
    return TextTokenizer(folder.tokenizer_file, config.text)


def _first_difference(before: Tables, now: Tables, path: str = "") -> str:
    """The first key, in the order of recipes, whose values are not the same; one is."""
    keys = [*before, *(key for key in now if key not in before)]
    key = next(key for key in keys if before.get(key) != now.get(key))
    was, is_ = before.get(key), now.get(key)
    if isinstance(was, dict) and isinstance(is_, dict):
        return _first_difference(was, is_, f"{path}{key}.")
    return f"{path}{key} is {_shown(was)} in the run and {_shown(is_)} in the configuration"


def _shown(value: object) -> str:
    return "nothing" if value is None else shown(value)

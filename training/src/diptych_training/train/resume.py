"""Checks that an existing run can be resumed: the same recipe, the same data, a complete folder."""

from pathlib import Path

from pydantic import ValidationError

from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.config import Tables, TrainConfig, read_config
from diptych_training.config.explain import format_value
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import CheckpointError, TrainingConfigError
from diptych_training.provenance import Provenance, changed_source, collect_provenance
from diptych_training.run_folder import RunFolder
from diptych_training.train.defaults import fill_from_run

# Of `data.pairs`, when a run goes on.
CHANGEABLE_PAIRS_KEYS = ("workers", "max_skipped", "tokenizer_pairs", "accept_changes")


def open_run(path: Path, config: TrainConfig) -> TrainConfig:
    """The recipe of an existing run, which may be another only in what changes nothing of what is learned:
    `scale`, and how pairs are read. TrainingConfigError names the first key that differs.
    """
    folder = RunFolder(path)
    if not folder.config_file.is_file():
        raise TrainingConfigError(f"{path} has no run to resume: start it without --resume")
    ran = read_config(folder.config_file)
    differs = recipe_difference(ran, config)
    if differs is not None:
        raise TrainingConfigError(f"{path}: {differs}: use another --name")
    return fill_from_run(config, ran)


def check_same_data(folder: RunFolder, config: TrainConfig, dataset: PackedDataset) -> None:
    """Raises TrainingConfigError that names the first source that is not what the run learned from so far.

    A run of an earlier release that keeps no such record, or one without hashes, goes on.
    """
    try:
        before = Provenance.model_validate_json(folder.provenance_file.read_bytes())
    except (FileNotFoundError, ValidationError):
        return
    changed = changed_source(before, collect_provenance(dataset, config, {}))
    if changed is not None:
        raise TrainingConfigError(
            f"{folder.path}: {changed} is not what the run began with: what it learned from may be in "
            "validation now. Use another --name, or make the data set again of what it was made from"
        )


def recipe_difference(ran: TrainConfig, now: TrainConfig) -> str | None:
    """The first key by which a run's recipe is not this one, and its two values; None if it is the same.

    What this one leaves open is the same.
    """
    now = fill_from_run(now, ran)
    before = _with_changeable_keys(ran, now)
    if before == now:
        return None
    was, is_ = (one.model_dump(mode="json", exclude_none=True) for one in (before, now))
    return _first_difference(was, is_)


def _with_changeable_keys(before: TrainConfig, now: TrainConfig) -> TrainConfig:
    """`before` with those keys of `now` that a run may change on its way."""
    changed = before.model_copy(update={"scale": now.scale})
    if before.data.pairs is None or now.data.pairs is None:
        return changed
    pairs = before.data.pairs.model_copy(
        update={key: getattr(now.data.pairs, key) for key in CHANGEABLE_PAIRS_KEYS}
    )
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
    return "nothing" if value is None else format_value(value)

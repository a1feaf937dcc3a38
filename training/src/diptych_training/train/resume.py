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

# Keys of `data.pairs` that a resumed run may change.
CHANGEABLE_PAIRS_KEYS = ("workers", "max_skipped", "tokenizer_pairs", "accept_changes")


def open_run(path: Path, config: TrainConfig) -> TrainConfig:
    """Check the recipe for resuming a run and fill its open keys. Only keys that do not change the learned
    weights may differ: `scale`, and how pairs are read. Raises TrainingConfigError naming the first key that
    differs.
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
    """Raise TrainingConfigError naming the first source that is not what the run learned from so far.

    Runs of earlier releases without this record, or without hashes in it, are accepted.
    """
    try:
        before = Provenance.model_validate_json(folder.provenance_file.read_bytes())
    except (FileNotFoundError, ValidationError):
        return
    changed = changed_source(before, collect_provenance(dataset, config, {}))
    if changed is not None:
        raise TrainingConfigError(
            f"{folder.path}: {changed} is not what the run began with: images that it learned from may be in "
            "validation now. Use another --name, or build the data set again from the same files"
        )


def recipe_difference(ran: TrainConfig, now: TrainConfig) -> str | None:
    """Describe the first key in which a run's recipe differs from this one, with both values; None if they
    are equal.

    Open keys of this recipe count as equal.
    """
    now = fill_from_run(now, ran)
    before = _with_changeable_keys(ran, now)
    if before == now:
        return None
    was, is_ = (one.model_dump(mode="json", exclude_none=True) for one in (before, now))
    return _first_difference(was, is_)


def _with_changeable_keys(before: TrainConfig, now: TrainConfig) -> TrainConfig:
    """`before` with the values of `now` for the keys that a run may change."""
    changed = before.model_copy(update={"scale": now.scale})
    if before.data.pairs is None or now.data.pairs is None:
        return changed
    pairs = before.data.pairs.model_copy(
        update={key: getattr(now.data.pairs, key) for key in CHANGEABLE_PAIRS_KEYS}
    )
    return changed.model_copy(update={"data": before.data.model_copy(update={"pairs": pairs})})


def load_tokenizer(folder: RunFolder, config: TrainConfig) -> TextTokenizer:
    """Load the run's tokenizer as the server will read it. Raises CheckpointError if the file is missing."""
    if not folder.tokenizer_file.is_file():
        raise CheckpointError(f"{folder.tokenizer_file} is missing: the run folder is incomplete")
    return TextTokenizer(folder.tokenizer_file, config.text)


def _first_difference(before: Tables, now: Tables, path: str = "") -> str:
    """Describe the first differing key, in the order of the recipe; there must be one."""
    keys = [*before, *(key for key in now if key not in before)]
    key = next(key for key in keys if before.get(key) != now.get(key))
    was, is_ = before.get(key), now.get(key)
    if isinstance(was, dict) and isinstance(is_, dict):
        return _first_difference(was, is_, f"{path}{key}.")
    return (
        f"{path}{key} is {_format_optional(was)} in the run and {_format_optional(is_)} in the configuration"
    )


def _format_optional(value: object) -> str:
    return "nothing" if value is None else format_value(value)

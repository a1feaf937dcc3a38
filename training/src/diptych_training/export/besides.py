"""What a model card says of data beside the run's own: what was rehearsed, and what was left out."""

from functools import cache
from pathlib import Path

from diptych_training.config import TrainConfig
from diptych_training.data.packed import PackedDataset, read_dataset
from diptych_training.data.pairs.excluded import read_excluded
from diptych_training.errors import DataError


def besides(config: TrainConfig) -> str:
    """A paragraph each, or nothing. What is not there any more is named, and said not to be there."""
    told = [_rehearsed(config, name) for name in config.data.rehearsal]
    files = () if config.data.pairs is None else config.data.pairs.exclude
    told += [_excluded(file) for file in files]
    return "".join(f"{paragraph}\n\n" for paragraph in told)


def rehearsed_set(config: TrainConfig, name: str) -> PackedDataset | None:
    """A data set that was rehearsed; None if it is not there any more."""
    return _read(Path(config.data.rehearsal[name].data).expanduser())


@cache
def _read(path: Path) -> PackedDataset | None:
    try:
        return read_dataset(path)
    except DataError:
        return None


def _rehearsed(config: TrainConfig, name: str) -> str:
    share = config.rehearsed[name] / config.run.batch_size
    data, old = config.data.rehearsal[name].data, rehearsed_set(config, name)
    if old is None:
        return (
            f"Of every batch {share:.0%} was rehearsed from `{data}` (`data.rehearsal.{name}`). It was not "
            "there when this was exported: its sources, authors and licences are not listed here."
        )
    n = sum(entry.n for _, entry in old.listed("train"))
    return (
        f"Of every batch {share:.0%} was rehearsed from the {n:,} training images of the data set "
        f"`{old.name}` (`data.rehearsal.{name}`)."
    )


def _excluded(file: str) -> str:
    name = Path(file).name
    try:
        return f"Left out were pairs that `{name}` names: {len(read_excluded([file])):,} names."
    except DataError:
        return f"Left out were pairs that `{name}` named. It was not there when this was exported."

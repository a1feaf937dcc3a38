"""What a model card says of data and models beside the run's own: what was rehearsed, what was left out, who
taught it."""

from functools import cache
from pathlib import Path

from diptych_training.checkpoint import TrainedRun
from diptych_training.data.packed import PackedDataset, read_dataset
from diptych_training.data.pairs.excluded import read_excluded
from diptych_training.errors import DataError


def besides(run: TrainedRun) -> str:
    """A paragraph each, or nothing. What is not there any more is named, and said not to be there."""
    told = [_rehearsed(run, name) for name in run.config.data.rehearsal]
    pairs = run.config.data.pairs
    files = () if pairs is None else pairs.exclude
    told += [_excluded(file) for file in files]
    told += _taught(run)
    return "".join(f"{paragraph}\n\n" for paragraph in told)


def rehearsed_set(run: TrainedRun, name: str) -> PackedDataset | None:
    """A data set that was rehearsed, as the run recorded it, or else as it is now; None if it is gone."""
    if run.learned is not None:
        return run.learned.rehearsed.get(name)
    return _read(Path(run.config.data.rehearsal[name].data).expanduser())


@cache
def _read(path: Path) -> PackedDataset | None:
    try:
        return read_dataset(path)
    except DataError:
        return None


def _rehearsed(run: TrainedRun, name: str) -> str:
    config = run.config
    share = config.rehearsed[name] / config.run.batch_size
    data, old = config.data.rehearsal[name].data, rehearsed_set(run, name)
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


def _taught(run: TrainedRun) -> list[str]:
    distill = run.config.distill
    if distill is None:
        return []
    names = ", ".join(f"`{name}`" for name in distill.teachers)
    return [
        f"It was taught by other models, too (`distill`): {distill.weight:.0%} of its loss asked it to think "
        f"of every batch what these do in the mean: {names}."
    ]


def _excluded(file: str) -> str:
    name = Path(file).name
    try:
        return f"Left out were pairs that `{name}` names: {len(read_excluded([file])):,} names."
    except DataError:
        return f"Left out were pairs that `{name}` named. It was not there when this was exported."

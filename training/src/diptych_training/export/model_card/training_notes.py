"""What a model card says of how a run went, from its recipe; measures nothing."""

import math
from functools import cache
from pathlib import Path

from diptych_training.checkpoint import TrainedRun
from diptych_training.config import TrainConfig
from diptych_training.data.packed import PackedDataset, read_dataset
from diptych_training.data.pairs.excluded import read_excluded
from diptych_training.errors import DataError


def how_trained(config: TrainConfig) -> str:
    """Sentences: batches and steps, sizes of images, loss, rate and average."""
    run, optim = config.run, config.optim
    told = [
        f"Its recipe has {run.steps:,} steps of {run.batch_size:,} images with their texts, "
        f"{run.steps * run.batch_size:,} in all.",
        _sizes(config),
        _smoothing(config),
        f"The rate rises to {optim.lr:g} in {optim.warmup_steps:,} steps and falls to {optim.min_lr_ratio:g} "
        "of that along a cosine (AdamW).",
        _average(run.ema_decay),
    ]
    return " ".join(sentence for sentence in told if sentence)


def _sizes(config: TrainConfig) -> str:
    run, size = config.run, config.model.image_size
    if run.start_size in (None, size) or not run.start_fraction:
        return ""
    n_small = math.ceil(run.start_fraction * run.steps)
    return (
        f"In the first {n_small:,} of them ({run.start_fraction:.0%}) images were {run.start_size} x "
        f"{run.start_size} pixels, then {size} x {size}. Validation is judged at {size} x {size} all the "
        "while: its curves may lie flat before, and leap once the size has changed."
    )


def _smoothing(config: TrainConfig) -> str:
    smoothing = config.label_smoothing
    return (
        f"Of each target of the loss {smoothing:.0%} goes to the whole batch alike (label smoothing)."
        if smoothing
        else ""
    )


def _average(decay: float | None) -> str:
    if decay is None:
        return "The weights are those of the last step, not an average."
    return f"The weights are the exponential average of those of all steps (decay {decay:g})."


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
    if run.provenance is not None:
        return run.provenance.rehearsed.get(name)
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

"""Paragraphs of a model card on how a run was trained: recipe, rehearsal, exclusions, distillation."""

import math
from functools import cache
from pathlib import Path

from diptych_training.checkpoint import TrainedRun
from diptych_training.config import TrainConfig
from diptych_training.data.packed import PackedDataset, read_dataset
from diptych_training.data.pairs.excluded import read_excluded
from diptych_training.errors import DataError
from diptych_training.paths import expanded


def recipe_notes(config: TrainConfig) -> str:
    """Sentences on batches and steps, image sizes, loss, learning rate and weight average."""
    run, optim = config.run, config.optim
    notes = [
        f"Its recipe has {run.steps:,} steps of {run.batch_size:,} images with their texts, "
        f"{run.steps * run.batch_size:,} in all.",
        _image_sizes(config),
        _smoothing(config),
        f"The learning rate rises to {optim.lr:g} in {optim.warmup_steps:,} steps and falls to "
        f"{optim.min_lr_ratio:g} of that along a cosine (AdamW).",
        _weight_average(run.ema_decay),
    ]
    return " ".join(sentence for sentence in notes if sentence)


def _image_sizes(config: TrainConfig) -> str:
    run, size = config.run, config.model.image_size
    if run.start_size in (None, size) or not run.start_fraction:
        return ""
    n_small = math.ceil(run.start_fraction * run.steps)
    return (
        f"In the first {n_small:,} of them ({run.start_fraction:.0%}) images were {run.start_size} x "
        f"{run.start_size} pixels, then {size} x {size}. Validation always uses {size} x {size}: its curves "
        "may be flat at first, and jump when the size changes."
    )


def _smoothing(config: TrainConfig) -> str:
    smoothing = config.label_smoothing
    return (
        f"The loss spreads {smoothing:.0%} of each target evenly over the batch (label smoothing)."
        if smoothing
        else ""
    )


def _weight_average(decay: float | None) -> str:
    if decay is None:
        return "The weights are those of the last step, not an average."
    return f"The weights are an exponential moving average over all steps (decay {decay:g})."


def dataset_notes(run: TrainedRun) -> str:
    """Paragraphs on rehearsed data sets, excluded pairs and teachers; missing files are named."""
    notes = [_rehearsed(run, name) for name in run.config.data.rehearsal]
    pairs = run.config.data.pairs
    files = () if pairs is None else pairs.exclude
    notes += [_excluded(file) for file in files]
    notes += _distilled(run)
    notes += _text_taught(run)
    return "".join(f"{paragraph}\n\n" for paragraph in notes)


def rehearsed_set(run: TrainedRun, name: str) -> PackedDataset | None:
    """A rehearsed data set as the run recorded it, or else as it is now; None if it no longer exists."""
    if run.provenance is not None:
        return run.provenance.rehearsed.get(name)
    return _read(expanded(run.config.data.rehearsal[name].data))


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
            f"{share:.0%} of every batch was rehearsed from `{data}` (`data.rehearsal.{name}`). That data "
            "set did not exist at export: its sources, authors and licences are not listed here."
        )
    n = sum(entry.n for _, entry in old.listed("train"))
    return (
        f"{share:.0%} of every batch was rehearsed from the {n:,} training images of the data set "
        f"`{old.name}` (`data.rehearsal.{name}`)."
    )


def _distilled(run: TrainedRun) -> list[str]:
    distill = run.config.distill
    if distill is None:
        return []
    names = ", ".join(f"`{name}`" for name in distill.teachers)
    return [
        f"It was also distilled from other models (`distill`): {distill.weight:.0%} of its loss compares its "
        f"similarities in each batch with the mean of those of {names}."
    ]


def _text_taught(run: TrainedRun) -> list[str]:
    taught = run.config.text_teacher
    if taught is None:
        return []
    files = [f"`{Path(file).name}`" for file in taught.texts]
    texts = " and ".join([*files, *(["the texts of its data"] if taught.captions else [])])
    return [
        f"Its text tower was also distilled from the sentence encoder `{taught.title}` (`text_teacher`), "
        f"over {texts}."
    ]


def _excluded(file: str) -> str:
    name = Path(file).name
    try:
        return f"Pairs listed in `{name}` were excluded: {len(read_excluded([file])):,} names."
    except DataError:
        return f"Pairs listed in `{name}` were excluded. That file did not exist at export."

"""Paragraphs of a model card on how a run was trained: recipe, rehearsal, distillation, classes."""

import math
from functools import cache
from pathlib import Path

from diptych_training.checkpoint import TrainedRun
from diptych_training.config import TrainConfig
from diptych_training.config.start import IMAGENET
from diptych_training.data.packed import PackedDataset, read_dataset
from diptych_training.data.pairs.excluded import read_excluded
from diptych_training.errors import DataError
from diptych_training.models import EfficientNetLiteConfig, ModelConfig, PhotographsAndDrawingsConfig
from diptych_training.paths import expanded

N_IMAGENET = 1_000
OF_IMAGENET = {
    "classes": "ImageNet's 1,000 classes",
    "examples": ": animals, plants, food, vehicles, tools, furniture, clothes, instruments, buildings",
    "unknown": "people: who they are, what they do or feel, how old they are",
    "lacking": "Famous buildings, brands, breeds and species that ImageNet lacks",
    "photographs": "ImageNet's photographs were collected from the web. Four in ten of its classes are "
    "animals, among them 118 breeds of dogs, and\n  things of everyday life look as they do in the countries "
    "that most pictures are from.",
}


def known_classes(model: ModelConfig, config: TrainConfig) -> dict[str, str]:
    """The keys of the template for photographs and drawings that depend on the classifier.

    Whether its classes are ImageNet's is stated in the recipe; a run that started from another model has
    them if they are as many.
    """
    image, start = model.image, config.start_image
    lite = image.photographs if isinstance(image, PhotographsAndDrawingsConfig) else image
    n = (isinstance(lite, EfficientNetLiteConfig) and lite.classes) or 0
    if n == N_IMAGENET if start is None else start.classes == IMAGENET:
        return OF_IMAGENET
    return {
        "classes": f"the {n:,} classes of its classifier",
        "examples": "",
        "unknown": "people, unless its classes name them: who they are, what they do, how old they are",
        "lacking": "Things that are in none of these classes",
        "photographs": "It looks at photographs as its classifier does: what was rare or one-sided in the "
        "photographs that trained it is so here.",
    }


def recipe_notes(config: TrainConfig) -> str:
    """Sentences on batches and steps, image sizes, loss, learning rate and weight average."""
    run, optim = config.run, config.optim
    falls = (
        "along a cosine"
        if optim.schedule == "cosine"
        else f"in the last {optim.cooldown:.0%} of them, along a line"
    )
    notes = [
        f"Its recipe has {run.steps:,} steps of {run.batch_size:,} images with their texts, "
        f"{run.steps * run.batch_size:,} in all.",
        _image_sizes(config),
        _smoothing(config),
        f"The learning rate rises to {optim.lr:g} in {optim.warmup_steps:,} steps and falls to "
        f"{optim.min_lr_ratio:g} of that {falls} (AdamW).",
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
    notes += _text_teacher_notes(run)
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


def _text_teacher_notes(run: TrainedRun) -> list[str]:
    teacher = run.config.text_teacher
    if teacher is None:
        return []
    files = [f"`{Path(file).name}`" for file in teacher.texts]
    texts = " and ".join([*files, *(["the texts of its data"] if teacher.captions else [])])
    return [
        f"Its text tower was also distilled from the sentence encoder `{teacher.title}` (`text_teacher`), "
        f"over {texts}."
    ]


def _excluded(file: str) -> str:
    name = Path(file).name
    try:
        return f"Pairs listed in `{name}` were excluded: {len(read_excluded([file])):,} names."
    except DataError:
        return f"Pairs listed in `{name}` were excluded. That file did not exist at export."

"""The cells of a plan: which model is trained how far, and how it is measured."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import Literal

from diptych_training.config import TrainConfig, read_config
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import TrainingConfigError
from diptych_training.objectives.kinds import objective_version
from diptych_training.objectives.static_softmax import StaticSoftmaxConfig
from diptych_training.paths import recipe_file
from diptych_training.schema import Tables
from diptych_training.study.plan import (
    CHANGEABLE_RUN_KEYS,
    Efficiency,
    Part,
    Scaling,
    StudyPlan,
    Training,
    Variant,
)
from diptych_training.train.defaults import with_defaults
from diptych_training.train.flops import training_flops

Measure = Literal["sample", "benchmark", "labels", "names"]
MEASURED = "eval"  # the split of final figures; no choice of the study rests on it


@dataclass(frozen=True)
class Run:
    """A run of the study. Parts with the same recipe share it, since its name is made of the recipe."""

    variant: str
    config: TrainConfig

    @property
    def objective(self) -> str:
        """The objective with the version of its code."""
        return objective_version(self.config.objective, self.config.loss)

    @property
    def images(self) -> int:
        """The images that the model learns from."""
        return self.config.run.steps * self.config.run.batch_size

    @cached_property
    def recipe(self) -> str:
        """A digest of all that decides what is learned: the recipe, and the objective's version."""
        full, short = (
            self.config.model_dump(
                mode="json",
                exclude={"name": True, "scale": True, "run": {*CHANGEABLE_RUN_KEYS}},
                exclude_defaults=is_short,
            )
            for is_short in (False, True)
        )
        table = _with_kinds(full, short)
        return sha256(json.dumps([table, self.objective], sort_keys=True).encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"study-{self.variant}-{self.recipe[:8]}"

    def flops_per_image(self, text_length: int | None = None) -> float:
        """Training FLOPs of an image whose caption has so many tokens; by default it fills the context."""
        return training_flops(self.config, text_length)


@dataclass(frozen=True)
class Cell:
    """One model to measure: a run at its end, or a bundle. `is_predicted`: a law is written before."""

    part: Part
    name: str
    variant: str
    model: Run | str
    measure: Measure
    settings: tuple[int, ...] = ()  # of the measure
    is_predicted: bool = False

    def digest(self, data: str) -> str:
        """A digest of everything that decides the result."""
        model = self.model.recipe if isinstance(self.model, Run) else self.model
        return sha256(repr((model, data, self.measure, self.settings)).encode()).hexdigest()[:16]


def _with_kinds(full: Tables, short: Tables) -> Tables:
    """A recipe without defaults, so that a key that recipes get later changes no digest; but with every
    `kind`, which is the default of its own table.
    """
    return {
        key: _with_kinds(value, short[key]) if isinstance(value, dict) and key in short else value
        for key, value in full.items()
        if key in short or key == "kind"
    }


def without_validation(dataset: PackedDataset) -> PackedDataset:
    """The training sources alone: the study makes no choice in a run, so none is validated."""
    return replace(dataset, name=f"{dataset.name}-train", entries=dict(dataset.listed("train")))


def data_digest(dataset: PackedDataset) -> str:
    """A digest of what is learned from and measured on, by the recipes of its sources."""
    entries = [
        (name, entry.kind, entry.n, entry.recipe)
        for split in ("train", MEASURED)
        for name, entry in dataset.listed(split)
    ]
    return sha256(repr(entries).encode()).hexdigest()[:16]


def cells_of(plan: StudyPlan, dataset: PackedDataset) -> list[Cell]:
    """All cells, in the order in which they are run. Raises TrainingConfigError naming part and variant."""
    cells: list[Cell] = []
    if plan.efficiency is not None:
        cells += _efficiency(plan.efficiency, dataset)
    if plan.labels is not None:
        cells += _labels(plan.labels, dataset)
    if plan.prompts is not None:
        cells += [
            Cell("prompts", bundle.replace("/", "-"), bundle, bundle, "benchmark", (plan.prompts.draws,))
            for bundle in plan.prompts.bundles
        ]
    if plan.scaling is not None:
        cells += _scaling(plan.scaling, dataset)
    return cells


def _efficiency(part: Efficiency, dataset: PackedDataset) -> Iterator[Cell]:
    """Shorter runs of all objectives come first."""
    for horizon in part.horizons:
        for variant, run in _runs("efficiency", part, dataset, f"run.steps={horizon}"):
            yield Cell(
                "efficiency", f"{_name(run)}-{horizon:05}", variant.name, run, "sample",
                (part.names, part.pictures, int(horizon == part.horizons[-1])),
            )  # fmt: skip


def _scaling(part: Scaling, dataset: PackedDataset) -> Iterator[Cell]:
    """All seeds of the models that are fitted come before those that are predicted."""
    later = {variant.name for variant in part.variants[-part.predicted :]}
    runs = sorted(_runs("scaling", part, dataset), key=lambda found: found[0].name in later)
    for variant, run in runs:
        if run.config.predictive is not None:
            raise TrainingConfigError(
                f"variant {variant.name} of scaling: objective {run.config.predictive.kind} has no text "
                "tower, which a series needs"
            )
        yield Cell(
            "scaling", _name(run), variant.name, run, "names", (part.names,), variant.name in later
        )  # fmt: skip


def _labels(part: Training, dataset: PackedDataset) -> Iterator[Cell]:
    """Every model is measured by what the static softmax knows."""
    runs = list(_runs("labels", part, dataset))
    n_labels = [
        run.config.objective.n_labels
        for _, run in runs
        if isinstance(run.config.objective, StaticSoftmaxConfig)
    ]
    if not n_labels:
        raise TrainingConfigError("labels: no variant has the objective static_softmax")
    for variant, run in runs:
        yield Cell(
            "labels", _name(run), variant.name, run, "labels", (n_labels[0],)
        )  # fmt: skip


def _name(run: Run) -> str:
    return f"{run.variant}-s{run.config.seed}"


def _runs(
    part: Part, training: Training, dataset: PackedDataset, *more: str
) -> Iterator[tuple[Variant, Run]]:
    """All first seeds before all second ones: what is broken off has every variant. `more` are changes of all
    variants.
    """
    seeds = {
        variant.name: training.seeds if variant.seeds is None else variant.seeds
        for variant in training.variants
    }
    for seed in dict.fromkeys(seed for own in seeds.values() for seed in own):
        for variant in (one for one in training.variants if seed in seeds[one.name]):
            recipe = variant.recipe or training.recipe
            assert recipe is not None
            changes = (*training.changes, *variant.changes, *more, f"seed={seed}", "run.best_by=[]")
            try:
                config = read_config(recipe_file(recipe), changes, name="study")
            except TrainingConfigError as error:
                raise TrainingConfigError(f"variant {variant.name} of {part}: {error}") from error
            yield variant, Run(variant.name, with_defaults(config, without_validation(dataset)))

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
from diptych_training.objectives.static_softmax import StaticSoftmaxConfig
from diptych_training.paths import recipe_file
from diptych_training.schema import Tables
from diptych_training.study.plan import CHANGEABLE_RUN_KEYS, Efficiency, Part, StudyPlan, Training, Variant
from diptych_training.train.defaults import with_defaults
from diptych_training.train.flops import training_flops

Measure = Literal["sample", "benchmark", "labels"]
MEASURED = "eval"  # the split of final figures; no choice of the study rests on it


@dataclass(frozen=True)
class Run:
    """A run of the study. Parts with the same recipe share it, since its name is made of the recipe."""

    variant: str
    config: TrainConfig

    @cached_property
    def recipe(self) -> str:
        """A digest of everything in the recipe that decides what is learned."""
        full, short = (
            self.config.model_dump(
                mode="json",
                exclude={"name": True, "scale": True, "run": {*CHANGEABLE_RUN_KEYS}},
                exclude_defaults=is_short,
            )
            for is_short in (False, True)
        )
        table = _with_kinds(full, short)
        return sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"study-{self.variant}-{self.recipe[:8]}"

    @cached_property
    def flops_per_image(self) -> float:
        """Training FLOPs of an image."""
        return training_flops(self.config)


@dataclass(frozen=True)
class Cell:
    """One model to measure: a run after `step` steps, or a bundle."""

    part: Part
    name: str
    variant: str
    model: Run | str
    step: int
    measure: Measure
    settings: tuple[int, ...] = ()  # of the measure

    @property
    def images(self) -> int:
        """The images that the model has learned from; 0 for a bundle."""
        return self.step * self.model.config.run.batch_size if isinstance(self.model, Run) else 0

    @property
    def flops(self) -> float:
        """The FLOPs of its training; 0 for a bundle."""
        return self.images * self.model.flops_per_image if isinstance(self.model, Run) else 0.0

    def digest(self, data: str) -> str:
        """A digest of everything that decides the result."""
        model = self.model.recipe if isinstance(self.model, Run) else self.model
        return sha256(repr((model, self.step, data, self.measure, self.settings)).encode()).hexdigest()[:16]


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
            Cell("prompts", bundle.replace("/", "-"), bundle, bundle, 0, "benchmark", (plan.prompts.draws,))
            for bundle in plan.prompts.bundles
        ]
    if plan.scaling is not None:
        cells += [
            Cell(
                "scaling", _name(run), variant.name, run, run.config.run.steps, "benchmark",
                (plan.scaling.draws,),
            )
            for variant, run in _runs("scaling", plan.scaling, dataset)
        ]  # fmt: skip
    return cells


def _efficiency(part: Efficiency, dataset: PackedDataset) -> Iterator[Cell]:
    for variant, run in _runs("efficiency", part, dataset):
        last = run.config.run.steps
        if part.checkpoints[-1] > last:
            raise TrainingConfigError(
                f"efficiency: checkpoints go up to step {part.checkpoints[-1]}, but {variant.name} has {last}"
            )
        for step in part.checkpoints:
            yield Cell(
                "efficiency", f"{_name(run)}-{step:05}", variant.name, run, step, "sample",
                (part.names, part.pictures),
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
            "labels", _name(run), variant.name, run, run.config.run.steps, "labels", (n_labels[0],)
        )  # fmt: skip


def _name(run: Run) -> str:
    return f"{run.variant}-s{run.config.seed}"


def _runs(part: Part, training: Training, dataset: PackedDataset) -> Iterator[tuple[Variant, Run]]:
    """All first seeds before all second ones: what is broken off has every variant."""
    for seed in training.seeds:
        for variant in training.variants:
            recipe = variant.recipe or training.recipe
            assert recipe is not None
            changes = (*training.changes, *variant.changes, f"seed={seed}", "run.best_by=[]")
            try:
                config = read_config(recipe_file(recipe), changes, name="study")
            except TrainingConfigError as error:
                raise TrainingConfigError(f"variant {variant.name} of {part}: {error}") from error
            yield variant, Run(variant.name, with_defaults(config, without_validation(dataset)))

"""The results of an ablation as stored data, read from the run folders of its variants."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Literal

from pydantic import Field

from diptych_training.checkpoint import checkpoint_step, read_provenance
from diptych_training.config import TrainConfig, read_config
from diptych_training.models.count import meta_model, model_size
from diptych_training.run_folder import RunFolder
from diptych_training.schema import Frozen
from diptych_training.study.plan import CHANGEABLE_RUN_KEYS, AblationPlan, AblationVariant
from diptych_training.train.metrics_log import Series, read_metrics
from diptych_training.train.resume import recipe_difference

State = Literal["finished", "broken off", "not begun"]


class Outcome(Frozen):
    """The outcome of one variant; measurements exist once it is finished. Rates and minutes count its steps
    only.

    `differs` describes how the recipe of its run differs from the plan's current one.
    """

    name: str
    group: str
    says: str
    changes: tuple[str, ...]
    run: str
    state: State
    step: int
    n_steps: int
    n_samples: int  # images seen up to `step`
    validation: dict[str, float] = Field(default_factory=dict)
    n_image_parameters: int | None = None
    images_per_s: float | None = None
    minutes: float | None = None
    differs: str | None = None


class Ablation(Frozen):
    """All variants of a plan, the base first; `dataset` is the validation data, once a variant has begun."""

    schema_version: Literal[1] = 1
    plan: str
    recipe: str
    changes: tuple[str, ...]
    dataset: str | None
    outcomes: tuple[Outcome, ...]

    @property
    def base(self) -> Outcome:
        """The variant that all others are compared with."""
        return self.outcomes[0]

    @property
    def metrics(self) -> list[str]:
        """The names of all validation metrics of finished variants."""
        return sorted({name for outcome in self.outcomes for name in outcome.validation})


VALIDATION = "validation/"


def read_outcome(
    plan: AblationPlan, variant: AblationVariant, planned: TrainConfig, folder: RunFolder
) -> Outcome:
    """Read the outcome of a variant from its run folder. Raises CheckpointError, TrainingConfigError naming a
    file.
    """
    has_begun = folder.has_begun and folder.config_file.is_file()
    ran = read_config(folder.config_file) if has_begun else planned
    step = checkpoint_step(folder.last) if folder.last.is_file() else 0
    is_finished = step == ran.run.steps
    return Outcome(
        name=variant.name,
        group=variant.group,
        says=variant.says,
        changes=variant.changes,
        run=plan.run_name(variant),
        state="finished" if is_finished else "broken off" if has_begun else "not begun",
        step=step,
        n_steps=ran.run.steps,
        n_samples=step * ran.run.batch_size,
        differs=recipe_difference(_with_changeable_keys(ran, planned), planned),
        **(_measured(ran, read_metrics(folder.metrics_file)) if is_finished else {}),
    )


def collect_ablation(plan: AblationPlan, outcomes: Sequence[Outcome], runs_dir: Path) -> Ablation:
    """Combine the outcomes, with the data set that their runs name."""
    folders = [RunFolder(runs_dir / outcome.run) for outcome in outcomes if outcome.state != "not begun"]
    learned = [found for folder in folders if (found := read_provenance(folder)) is not None]
    return Ablation(
        plan=plan.name,
        recipe=Path(plan.base).stem,
        changes=plan.changes,
        dataset=learned[0].own.name if learned else None,
        outcomes=tuple(outcomes),
    )


def _with_changeable_keys(ran: TrainConfig, planned: TrainConfig) -> TrainConfig:
    run = ran.run.model_copy(update={key: getattr(planned.run, key) for key in CHANGEABLE_RUN_KEYS})
    return ran.model_copy(update={"run": run})


def _measured(ran: TrainConfig, series: Series) -> dict[str, Any]:
    rates = series.get("images_per_s", [])
    return {
        "validation": _last_validation(series),
        "n_image_parameters": model_size(meta_model(ran.model)).n_image,
        "images_per_s": median(rate for _, rate in rates) if rates else None,
        "minutes": _minutes(rates, ran.run.batch_size) if rates else None,
    }


def _last_validation(series: Series) -> dict[str, float]:
    return {
        name.removeprefix(VALIDATION): points[-1][1]
        for name, points in series.items()
        if name.startswith(VALIDATION)
    }


def _minutes(rates: list[tuple[int, float]], batch_size: int) -> float:
    """Minutes of all steps, each at the rate of the next logged step; validation and pauses are not
    counted.
    """
    steps = [0, *(step for step, _ in rates)]
    seconds = [
        (now - before) * batch_size / rate
        for (before, now), (_, rate) in zip(pairwise(steps), rates, strict=True)
    ]
    return sum(seconds) / 60

"""Outcomes of the variants of a plan, read from their run folders."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from diptych_training.ablate.plan import Plan, Variant
from diptych_training.ablate.report.results import Ablation, Outcome
from diptych_training.checkpoint import checkpoint_step, read_provenance
from diptych_training.config import TrainConfig, read_config
from diptych_training.models.count import meta_model, model_size
from diptych_training.run_folder import RunFolder
from diptych_training.train.metrics_log import Series, read_metrics
from diptych_training.train.resume import recipe_difference

VALIDATION = "validation/"
# Keys of `run` that do not change what is learned.
CHANGEABLE_RUN_KEYS = ("n_threads", "log_every", "checkpoint_every", "validate_every")


def read_outcome(plan: Plan, variant: Variant, planned: TrainConfig, folder: RunFolder) -> Outcome:
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


def collect_ablation(plan: Plan, outcomes: Sequence[Outcome], runs_dir: Path) -> Ablation:
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

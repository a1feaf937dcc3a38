"""What a model card says of how a run went, from its recipe; measures nothing."""

import math

from diptych_training.config import TrainConfig


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

"""What was measured of both trainers, as Markdown."""

import math
from collections.abc import Mapping, Sequence

from benchmarks.serving.environments import installed
from benchmarks.serving.machine import commit, machine, versions
from benchmarks.serving.measures import median
from benchmarks.training.task import BATCH_SIZE, N_WORKERS, Turn

SPEED_BAR, LOSS_BAR = 1.7, 0.02
N_WARM, N_LAST = 3, 5  # steps that are not counted; steps whose mean is the final loss
OURS, THEIRS = "diptych-train", "open_clip"


def report(command: str, day: str, turns: Mapping[str, Sequence[Turn]], n_steps: int, n_tokens: float) -> str:
    """Heading, table, verdict."""
    return "\n\n".join(
        [
            f"`{command}`, {day}, commit {commit()}. {machine()}. {versions()}; "
            f"theirs: {installed('open_clip')}. "
            f"{n_steps} steps of {BATCH_SIZE} with {N_WORKERS} worker process; captions of {n_tokens:.1f} "
            "tokens on average; the two take turns, median of the rounds (best).",
            table(turns),
            verdict(turns),
        ]
    )


def table(turns: Mapping[str, Sequence[Turn]]) -> str:
    """One row a trainer and precision."""
    lines = [
        "| trainer | images/s | processor over wall time | peak memory of the trainer, MB | final loss |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, measured in turns.items():
        rates = [turn.images_per_s(N_WARM) for turn in measured]
        cells = [
            f"{median(rates):.0f} ({max(rates):.0f})",
            f"{median([turn.cpu_share for turn in measured]):.2f}",
            f"{median([turn.peak_mb for turn in measured]):,.0f}",
            f"{median([turn.final_loss(N_LAST) for turn in measured]):.4f}",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def verdict(turns: Mapping[str, Sequence[Turn]]) -> str:
    """Both bars, round by round so that both trainers had the same machine."""
    pairs = list(zip(turns[OURS], turns[THEIRS], strict=True))
    ratio = median([ours.images_per_s(N_WARM) / theirs.images_per_s(N_WARM) for ours, theirs in pairs])
    off = median([loss_difference(ours, theirs) for ours, theirs in pairs])
    speed = f"{ratio:.2f} times as many images/s ({_verdict(ratio >= SPEED_BAR)}: >= {SPEED_BAR})"
    kept = _verdict(off <= LOSS_BAR)
    loss = f"the mean loss of the last {N_LAST} steps differs by {off:.2%} ({kept}: <= {LOSS_BAR:.0%})"
    # Equal losses say something only where both are below what guessing gives.
    fell = f"theirs began at {turns[THEIRS][0].losses[0]:.2f}, guessing gives {math.log(BATCH_SIZE):.2f}"
    return f"{speed}; {loss}; {fell}."


def loss_difference(ours: Turn, theirs: Turn) -> float:
    """Relative to theirs."""
    return abs(ours.final_loss(N_LAST) / theirs.final_loss(N_LAST) - 1)


def _verdict(is_kept: bool) -> str:
    return "kept" if is_kept else "MISSED"

"""Low-rank adapters against training of all weights, for an imported vision transformer.

    PYTHONPATH=tests python -m benchmarks.adapters [--quick] [--steps N] [--write FILE]

Writes a small ViT with random weights as a CLIP of transformers, as others would publish it, and trains it
on drawn pictures in two processes, by the two recipes that `refresh` chooses between. Prints steps a second,
memory, what the optimizer holds, and the loss beside that of a model that tells no pair from another.
"""

import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from benchmarks.report import conditions, finish, parser, run, say, table
from benchmarks.servers import REPOSITORY, modules_of
from benchmarks.training import CONTEXT_LENGTH, VOCAB_SIZE, measured, write_start
from diptych_training.checkpoint import OPTIMIZER, read_checkpoint
from diptych_training.cli import main as diptych_train
from diptych_training.models import ModelConfig, TextConfig, ViTConfig
from diptych_training.run_folder import RunFolder
from diptych_training.train.metrics_log import read_metrics

MARKS = "bench-adapters"
N_PICTURES, BATCH_SIZE, STEPS, QUICK_STEPS, N_FIRST_AND_LAST = 60, 16, 150, 10, 5
VIT = ViTConfig(patch_size=16, width=384, layers=12, heads=6)  # ViT-S/16
TEXT = TextConfig(vocab_size=VOCAB_SIZE, context_length=CONTEXT_LENGTH, width=256, layers=6, heads=4)
MODEL = ModelConfig(embed_dim=256, image_size=64, image=VIT, text=TEXT)
ALL = ("lock.image=0", "lock.text=0", "optim.lr=2e-4", "optim.layer_decay=0.8")
ADAPTERS = ("lock.image=all", "lock.text=all", "lora.rank=8", "optim.lr=1e-3", "optim.layer_decay=1.0")


@dataclass(frozen=True)
class Turn:
    """What one training gave."""

    steps_per_s: float
    peak_mb: float
    n_learned: int  # weights that the optimizer has moments of
    losses: tuple[float, float]  # mean of the first steps and of the last


def main() -> int:
    flags = parser(__doc__, quick="few steps")
    flags.add_argument("--steps", type=int, help=f"of each training (default {STEPS})")
    args = flags.parse_args()
    steps = args.steps or (QUICK_STEPS if args.quick else STEPS)
    with tempfile.TemporaryDirectory(prefix="diptych-bench-") as at:
        folder = Path(at)
        start = _prepare(folder)
        turns = {
            name: _train(folder, start, name, steps, changes)
            for name, changes in (("all weights", ALL), ("adapters", ADAPTERS))
        }
    said = (
        f"{conditions('python -m benchmarks.adapters')} A ViT of {VIT.layers} layers of {VIT.width} on "
        f"{MODEL.image_size} px with a text tower of {TEXT.layers} layers of {TEXT.width}; {steps} "
        f"steps of {BATCH_SIZE} in float32. The loss is a mean of {N_FIRST_AND_LAST} steps; a model that "
        f"cannot tell {BATCH_SIZE} pairs apart has ln {BATCH_SIZE} = {math.log(BATCH_SIZE):.2f}."
    )
    finish("\n\n".join([said, turns_table(turns)]) + "\n", args.write, MARKS)
    return 0


def _prepare(folder: Path) -> Path:
    """Draw and pack pictures, and write the model as transformers' own; returns its folder."""
    draw = ["-m", "diptych_training.refresh.example", "--out", str(folder / "pictures")]
    subprocess.run([sys.executable, *draw, "--pictures", str(N_PICTURES)], check=True)
    write_start(folder / "made", MODEL)
    start = folder / "clip"
    _require(["weights", str(folder / "made"), "--layout", "hugging_face", "--out", str(start)])
    pack = ["data", "pack", "--recipe", "own-pairs", "--train", str(folder / "pictures"), "--hold-out", "0.2"]
    _require([*pack, "--out", str(folder / "packed"), "--start", str(start)])
    return start


def _require(arguments: Sequence[str]) -> None:
    if diptych_train(list(arguments)):
        sys.exit(f"diptych-train {' '.join(arguments)} failed")


def _train(folder: Path, start: Path, name: str, steps: int, changes: Sequence[str]) -> Turn:
    say(name)
    run_folder = RunFolder(folder / "runs" / name.replace(" ", "-"))
    settings = [
        *changes, f"run.steps={steps}", f"run.batch_size={BATCH_SIZE}", f"run.checkpoint_every={steps}",
        f"run.validate_every={steps}", "run.log_every=1", "run.precision=fp32", "run.best_by=[]",
    ]  # fmt: skip
    command = [sys.executable, "-m", "diptych_training", "train", "own-pairs", "--start", str(start)]
    command += ["--data", str(folder / "packed"), "--runs-dir", str(folder / "runs")]
    command += ["--name", run_folder.path.name, *(part for one in settings for part in ("--set", one))]
    peak_mb, _ = measured(command, folder / "log.txt", environment={**os.environ, **modules_of(REPOSITORY)})
    series = read_metrics(run_folder.metrics_file)
    losses = [loss for _, loss in series["loss"]]
    moments = read_checkpoint(run_folder.last).under(OPTIMIZER)
    return Turn(
        steps_per_s=median(rate for _, rate in series["images_per_s"]) / BATCH_SIZE,
        peak_mb=peak_mb,
        n_learned=sum(tensor.numel() for key, tensor in moments.items() if key.endswith(".exp_avg")),
        losses=(fmean(losses[:N_FIRST_AND_LAST]), fmean(losses[-N_FIRST_AND_LAST:])),
    )


def turns_table(turns: dict[str, Turn]) -> str:
    """One row a way to train."""
    header = ["what learns", "weights that learn", "steps/s", "peak memory, MB", "loss, first and last steps"]
    cells = [
        [
            name,
            f"{turn.n_learned:,}",
            f"{turn.steps_per_s:.2f}",
            f"{turn.peak_mb:,.0f}",
            f"{turn.losses[0]:.2f}, {turn.losses[1]:.2f}",
        ]
        for name, turn in turns.items()
    ]
    return table(header, cells)


if __name__ == "__main__":
    run(main)

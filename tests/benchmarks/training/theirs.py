"""open_clip's trainer: its environment, its command line, and what it reported."""

import json
import shutil
from pathlib import Path

from benchmarks.serving.environments import environment
from benchmarks.training.processes import run_timed
from benchmarks.training.task import (
    BATCH_SIZE,
    BETAS,
    CLIP_NORM,
    CONTEXT_LENGTH,
    EPS,
    HEADS,
    IMAGE_SIZE,
    LEARNING_RATE,
    MEAN,
    MODEL,
    N_WORKERS,
    PATCH_SIZE,
    SEED,
    STD,
    VOCAB_SIZE,
    WIDTH,
    Task,
    Turn,
)
from diptych_training.models import ViTConfig

NAME = "bench"  # of the architecture there
SCRIPT = Path(__file__).parent / "open_clip_run.py"


def train(task: Task, precision: str = "amp_bf16") -> Turn:
    """One run from its start to its last step."""
    folder = task.folder / "open_clip"
    report = folder / "report.json"
    shutil.rmtree(folder / "logs", ignore_errors=True)  # it refuses a run of a name that is there
    _write_config(folder / "configs")
    command = [environment("open_clip") / "python", SCRIPT, report, folder / "configs"]
    command = [*map(str, command), *_arguments(task, folder, precision)]
    cpu_share = run_timed(command, folder / "log.txt", cwd=task.table.parent)  # paths in it are relative
    found = json.loads(report.read_text(encoding="utf-8"))
    return Turn(found["seconds"], found["losses"], found["peak_mb"], cpu_share)


def _write_config(folder: Path) -> None:
    assert isinstance(MODEL.image, ViTConfig)
    head_width = WIDTH // HEADS
    vision = {"image_size": IMAGE_SIZE, "layers": MODEL.image.layers, "width": WIDTH}
    vision |= {"patch_size": PATCH_SIZE, "head_width": head_width}
    text = {"context_length": CONTEXT_LENGTH, "vocab_size": VOCAB_SIZE, "width": WIDTH, "heads": HEADS}
    config = {
        "embed_dim": MODEL.embed_dim,
        "vision_cfg": vision,
        "text_cfg": {**text, "layers": MODEL.text.layers},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{NAME}.json").write_text(json.dumps(config), encoding="utf-8")


def _arguments(task: Task, folder: Path, precision: str) -> list[str]:
    said = {
        "model": NAME, "pretrained": task.weights, "precision": precision, "seed": SEED, "device": "cpu",
        "train-data": task.table, "dataset-type": "csv", "csv-img-key": "filepath",
        "csv-caption-key": "title",
        "batch-size": BATCH_SIZE, "workers": N_WORKERS, "epochs": 1, "warmup": task.n_warmup,
        "lr": LEARNING_RATE,
        "beta1": BETAS[0], "beta2": BETAS[1], "eps": EPS, "wd": 0, "grad-clip-norm": CLIP_NORM,
        "log-every-n-steps": 1, "logs": folder / "logs", "name": "run", "save-frequency": 0, "report-to": "",
    }  # fmt: skip
    given = [part for flag, value in said.items() for part in (f"--{flag}", str(value))]
    means = [*("--image-mean", *map(str, MEAN)), *("--image-std", *map(str, STD))]
    # The whole image as it is: no random crop.
    return [*given, *means, "--aug-cfg", "scale=(1.0, 1.0)", "ratio=(1.0, 1.0)"]

"""`diptych-train` on the same task: its recipe, its command line, and what it logged."""

import csv
import json
import os
import shutil
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import tomli_w
import torch

from benchmarks.serving.places import REPOSITORY
from benchmarks.training.processes import run_timed
from benchmarks.training.task import (
    BATCH_SIZE,
    BETAS,
    CLIP_NORM,
    CONTEXT_LENGTH,
    EPS,
    IMAGE_SIZE,
    LEARNING_RATE,
    MEAN,
    MODEL,
    N_WORKERS,
    SEED,
    STD,
    Task,
    Turn,
)
from diptych.bundle.manifest import ImageSpec, TextSpec
from diptych_training.checkpoint import Checkpoint, write_checkpoint
from diptych_training.config import OptimConfig, RunConfig, TrainConfig, dump_config
from diptych_training.data.packed import PackedDataset, PackedItem, SourceEntry, write_index, write_source
from diptych_training.importing.open_clip.bpe import clip_tokenizer
from diptych_training.models import build_model
from diptych_training.run_folder import RunFolder
from diptych_training.tokenizer import write_tokenizer
from support.child_python import python_path

SCRIPT = Path(__file__).parent / "diptych_run.py"
N_VALIDATION = 8  # images, for a validation that costs nothing


def write_start(folder: Path, weights: Path) -> None:
    """A run to start from, with CLIP's own tokenizer, and the same weights as a plain state dict."""
    torch.manual_seed(SEED)
    state = build_model(MODEL).state_dict()
    torch.save(state, weights)
    run = RunFolder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    image = ImageSpec(
        size=IMAGE_SIZE, mean=MEAN, std=STD, interpolation="bicubic", resize_mode="shortest", crop="round",
        alpha="white",
    )  # fmt: skip
    text = TextSpec(
        context_length=CONTEXT_LENGTH, clean="clip", pad_to="longest", pad_id=0, prompts={"default": ["{}"]}
    )
    config = TrainConfig(
        name="start", model=MODEL, preprocess=image, text=text, optim=OptimConfig(warmup_steps=1),
        run=RunConfig(steps=1),
    )  # fmt: skip
    write_tokenizer(clip_tokenizer(), run.tokenizer_file)
    run.model_file.write_text(MODEL.model_dump_json(), encoding="utf-8")
    run.image_spec_file.write_text(image.model_dump_json(), encoding="utf-8")
    run.text_spec_file.write_text(text.model_dump_json(), encoding="utf-8")
    run.config_file.write_text(dump_config(config), encoding="utf-8")
    tensors = {f"model.{name}": tensor for name, tensor in state.items()}
    write_checkpoint(run.best, Checkpoint(tensors, {"step": 0, "metrics": {}}))


def train(task: Task, precision: str = "bf16") -> Turn:
    """One run from its start to its last step."""
    folder = task.folder / "diptych"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _write_validation(folder / "validation")
    (folder / "recipe.toml").write_text(tomli_w.dumps(_recipe(task, precision)), encoding="utf-8")
    report = folder / "report.json"
    said = ["train", folder / "recipe.toml", "--start", task.start, "--device", "cpu"]
    said += ["--data", folder / "validation", "--runs-dir", folder / "runs"]
    command = [sys.executable, SCRIPT, report, *said]
    sources = [REPOSITORY / part / "src" for part in ("server", "training", "clients/python")]
    environment = {**os.environ, "PYTHONPATH": python_path(*sources)}
    cpu_share = run_timed([str(part) for part in command], folder / "log.txt", environment)
    series = _series(folder / "runs" / "bench" / "metrics.csv")
    peak_mb = json.loads(report.read_text(encoding="utf-8"))["peak_mb"]
    return Turn([BATCH_SIZE / rate for rate in series["images_per_s"]], series["loss"], peak_mb, cpu_share)


def _recipe(task: Task, precision: str) -> dict[str, object]:
    return {
        "name": "bench",
        "seed": SEED,
        "data": {
            # One stream, unmixed: the pairs come in the order of the table.
            "pairs": {"train": str(task.table), "streams": 1, "shuffle": 0, "workers": N_WORKERS}
        },
        "augment": {},
        "optim": {
            "lr": LEARNING_RATE, "min_lr_ratio": 0.0, "warmup_steps": task.n_warmup, "weight_decay": 0.0,
            "beta1": BETAS[0], "beta2": BETAS[1], "eps": EPS, "grad_clip": CLIP_NORM,
        },
        "run": {
            "steps": task.n_steps, "batch_size": BATCH_SIZE, "precision": precision, "log_every": 1,
            "best_by": ["icons_top1"],
        },
    }  # fmt: skip


def _write_validation(folder: Path) -> None:
    """A packed data set that has nothing but a few gray images to validate on."""
    images = np.full((N_VALIDATION, IMAGE_SIZE, IMAGE_SIZE, 3), 128, np.uint8)
    items = [PackedItem(id=f"{index}", label=f"thing {index}") for index in range(N_VALIDATION)]
    write_source(folder, "validation", "gray", images, items)
    entry = SourceEntry(
        split="validation", kind="icons", n=N_VALIDATION, licence="CC0-1.0", author="nobody",
        recipe="0" * 64, pixel_1nn_top1=None,
    )  # fmt: skip
    write_index(PackedDataset(folder, "gray", IMAGE_SIZE, {"gray": entry}))


def _series(file: Path) -> dict[str, list[float]]:
    series: defaultdict[str, list[float]] = defaultdict(list)
    with file.open(encoding="utf-8") as rows:
        for row in csv.DictReader(rows):
            series[row["metric"]].append(float(row["value"]))
    return dict(series)

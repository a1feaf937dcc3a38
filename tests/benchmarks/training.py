"""`make bench-training`: images/s and loss of `diptych-train` beside open_clip's trainer, on the same task.

    PYTHONPATH=tests python -m benchmarks.training [--quick] [--rounds N] [--write FILE]

The same small ViT, weights to start from, pairs in the same order, batch size and workers, both in bfloat16;
open_clip runs by its own command line in an environment of its own.
"""

import csv
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import tomli_w
import torch
from PIL import Image

from benchmarks.environments import environment, installed
from benchmarks.inputs import gallery_items
from benchmarks.load import in_turns, spread
from benchmarks.report import (
    Verdict,
    command_line,
    conditions,
    finish,
    parser,
    run,
    say,
    table,
    verdicts_table,
)
from benchmarks.servers import REPOSITORY, modules_of
from diptych.bundle.manifest import ImageSpec, TextSpec
from diptych_training.checkpoint import Checkpoint, write_checkpoint
from diptych_training.config import OptimConfig, RunConfig, TrainConfig, dump_config
from diptych_training.data.packed import PackedDataset, PackedItem, SourceEntry, write_index, write_source
from diptych_training.importing.open_clip.bpe import clip_tokenizer
from diptych_training.models import ModelConfig, TextConfig, ViTConfig, build_model
from diptych_training.run_folder import RunFolder
from diptych_training.train.tokenizer import write_tokenizer

MARKS = "bench-training"
OURS, THEIRS = "diptych-train", "open_clip"
SPEED_BAR, LOSS_BAR = 1.7, 0.02
N_WARM, N_LAST = 3, 5  # steps that are not counted; steps whose mean is the final loss
ROUNDS, STEPS, WARMUP = 3, 50, 10
QUICK_ROUNDS, QUICK_STEPS, QUICK_WARMUP = 1, 9, 2
OPEN_CLIP_RUN = Path(__file__).parent / "open_clip_run.py"
N_VALIDATION = 8  # images, for a validation that costs nothing
N_TOLD = 30  # lines of a log that an error shows

BATCH_SIZE, IMAGE_SIZE, PATCH_SIZE = 256, 64, 8  # 64 patches
VOCAB_SIZE, CONTEXT_LENGTH = 49408, 77  # CLIP's own
WIDTH, HEADS, IMAGE_LAYERS, TEXT_LAYERS = 192, 3, 6, 3
MODEL = ModelConfig(
    embed_dim=WIDTH,
    image_size=IMAGE_SIZE,
    activation="gelu",  # open_clip's default
    image=ViTConfig(patch_size=PATCH_SIZE, width=WIDTH, layers=IMAGE_LAYERS, heads=HEADS),
    text=TextConfig(
        vocab_size=VOCAB_SIZE, context_length=CONTEXT_LENGTH, width=WIDTH, layers=TEXT_LAYERS, heads=HEADS
    ),
)
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
# One optimizer for both: no weight decay, since they decay other tensors.
# At twice this rate fifty steps end where chance is, and equal losses would say nothing.
LEARNING_RATE, BETAS, EPS, CLIP_NORM = 5e-4, (0.9, 0.98), 1e-6, 1.0
SEED, N_WORKERS = 0, 1
# Words of a caption: mean and deviation are those of Conceptual Captions (Sharma et al. 2018).
MEAN_WORDS, WORDS_STD, MIN_WORDS, MAX_WORDS = 10.3, 4.5, 2, 40


@dataclass(frozen=True)
class Task:
    """Files that were made for this number of steps; `pairs` is a table of filepath and title, in order."""

    n_steps: int
    n_warmup: int
    pairs: Path
    folder: Path  # for all that the trainers read and write

    @property
    def weights(self) -> Path:
        """A state dict that both start from."""
        return self.folder / "start.pt"

    @property
    def start(self) -> Path:
        """The same as a run of ours, with its tokenizer."""
        return self.folder / "start"


@dataclass(frozen=True)
class Turn:
    """What one training run gave."""

    seconds: list[float]  # of each step, data included
    losses: list[float]
    peak_mb: float  # resident, of its largest process
    cpu_share: float  # processor time over wall time, workers and start included

    @property
    def images_per_s(self) -> float:
        """Over all steps but the first."""
        counted = self.seconds[N_WARM:]
        return BATCH_SIZE * len(counted) / sum(counted)

    @property
    def final_loss(self) -> float:
        """Mean of the last steps."""
        return sum(self.losses[-N_LAST:]) / N_LAST


def main() -> int:
    flags = parser(__doc__, quick="one round, few steps")
    flags.add_argument("--rounds", type=int, help=f"in which the two take turns (default {ROUNDS})")
    args = flags.parse_args()
    environment("open_clip")
    steps, warmup = (QUICK_STEPS, QUICK_WARMUP) if args.quick else (STEPS, WARMUP)
    rounds = args.rounds or (QUICK_ROUNDS if args.quick else ROUNDS)
    with tempfile.TemporaryDirectory(prefix="diptych-bench-") as folder:
        say("writing pairs")
        task = Task(steps, warmup, write_pairs(Path(folder, "pairs"), steps), Path(folder))
        torch.save(write_start(task.start), task.weights)
        measures = [partial(_said, OURS, train_ours, task), partial(_said, THEIRS, train_theirs, task)]
        turns = dict(zip((OURS, THEIRS), in_turns(rounds, measures), strict=True))
        n_tokens = mean_tokens(task.pairs)
    releases = installed("open_clip")
    said = (
        f"{conditions(command_line('bench-training', 'TRAINING'))} Theirs: {releases}. {steps} steps of "
        f"{BATCH_SIZE} with {N_WORKERS} worker process; captions of {n_tokens:.1f} tokens on average; "
        f"{rounds} rounds in turns, medians (lowest to highest)."
    )
    text = "\n\n".join([said, turns_table(turns), verdicts_table(list(verdicts(turns)))]) + "\n"
    finish(text, args.write, MARKS)
    return 0


def _said(name: str, train: Callable[[Task], Turn], task: Task) -> Turn:
    turn = train(task)
    say(f"{name}: {turn.images_per_s:.0f} images/s, loss {turn.final_loss:.4f}")
    return turn


def write_pairs(folder: Path, n_steps: int) -> Path:
    """Write the pairs of so many batches, in order, and return their table. No caption is twice in a batch.

    Each picture is one of the gallery's drawings at a random place and size; its caption begins with its name
    and goes on with words of other names.
    """
    rng = np.random.default_rng(0)
    items = [(file, one["name"]) for file, one in gallery_items() if one["kind"] == "drawing"]
    names = [name for _, name in items]
    words = sorted({word for name in names for word in name.split()})
    pictures = [_on_white(file) for file, _ in items]
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str, str]] = []
    for _ in range(n_steps):
        distinct = {names[index]: index for index in rng.permutation(len(names)).tolist()}
        for index in list(distinct.values())[:BATCH_SIZE]:
            file = folder / f"{len(rows):06}.png"
            _placed(pictures[index], rng).save(file)
            rows.append((file.name, _caption(names[index], words, rng)))
    pairs = folder / "pairs.tsv"
    with pairs.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out, delimiter="\t").writerows([("filepath", "title"), *rows])
    return pairs


def _caption(name: str, words: list[str], rng: np.random.Generator) -> str:
    n_words = int(np.clip(rng.normal(MEAN_WORDS, WORDS_STD), MIN_WORDS, MAX_WORDS))
    more = max(0, n_words - len(name.split()))
    return " ".join([name, *(words[index] for index in rng.integers(len(words), size=more))])


def _on_white(file: Path) -> Image.Image:
    with Image.open(file) as picture:
        drawn = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn).convert("RGB")


def _placed(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    side = int(rng.integers(IMAGE_SIZE // 2, IMAGE_SIZE + 1))
    left, top = (int(place) for place in rng.integers(0, IMAGE_SIZE - side + 1, size=2))
    canvas = Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), "white")
    canvas.paste(picture.resize((side, side), Image.Resampling.BICUBIC), (left, top))
    return canvas


def mean_tokens(pairs: Path) -> float:
    """Tokens of a caption, start and end included, at most the context length."""
    captions = [line.split("\t")[1] for line in pairs.read_text(encoding="utf-8").splitlines()[1:]]
    lengths = [min(CONTEXT_LENGTH, len(found.ids)) for found in clip_tokenizer().encode_batch(captions)]
    return sum(lengths) / len(lengths)


def write_start(folder: Path, model: ModelConfig = MODEL) -> dict[str, torch.Tensor]:
    """Write a run to start from, with CLIP's own tokenizer and random weights, which are returned."""
    torch.manual_seed(SEED)
    state = build_model(model).state_dict()
    run = RunFolder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    image = ImageSpec(
        size=model.image_size, mean=MEAN, std=STD, interpolation="bicubic", resize_mode="shortest",
        crop="round", alpha="white",
    )  # fmt: skip
    text = TextSpec(
        context_length=CONTEXT_LENGTH, clean="clip", pad_to="longest", pad_id=0, prompts={"default": ["{}"]}
    )
    config = TrainConfig(
        name="start", model=model, preprocess=image, text=text, optim=OptimConfig(warmup_steps=1),
        run=RunConfig(steps=1),
    )  # fmt: skip
    write_tokenizer(clip_tokenizer(), run.tokenizer_file)
    run.model_file.write_text(model.model_dump_json(), encoding="utf-8")
    run.image_spec_file.write_text(image.model_dump_json(), encoding="utf-8")
    run.text_spec_file.write_text(text.model_dump_json(), encoding="utf-8")
    run.config_file.write_text(dump_config(config), encoding="utf-8")
    tensors = {f"model.{name}": tensor for name, tensor in state.items()}
    write_checkpoint(run.best, Checkpoint(tensors, {"step": 0, "metrics": {}}))
    return state


def train_ours(task: Task) -> Turn:
    """`diptych-train` from its start to its last step."""
    folder = task.folder / "diptych"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _write_validation(folder / "validation")
    (folder / "recipe.toml").write_text(tomli_w.dumps(_recipe(task)), encoding="utf-8")
    command = [sys.executable, "-m", "diptych_training", "train", folder / "recipe.toml"]
    command += ["--start", task.start, "--device", "cpu"]
    command += ["--data", folder / "validation", "--runs-dir", folder / "runs"]
    peak_mb, cpu_share = measured(command, folder / "log.txt", {**os.environ, **modules_of(REPOSITORY)})
    series: defaultdict[str, list[float]] = defaultdict(list)
    with (folder / "runs" / "bench" / "metrics.csv").open(encoding="utf-8") as rows:
        for row in csv.DictReader(rows):
            series[row["metric"]].append(float(row["value"]))
    return Turn([BATCH_SIZE / rate for rate in series["images_per_s"]], series["loss"], peak_mb, cpu_share)


def _recipe(task: Task) -> dict[str, object]:
    return {
        "name": "bench",
        "seed": SEED,
        # One stream, unmixed: the pairs come in the order of the table.
        "data": {"pairs": {"train": str(task.pairs), "streams": 1, "shuffle": 0, "workers": N_WORKERS}},
        "augment": {},
        "optim": {
            "lr": LEARNING_RATE, "min_lr_ratio": 0.0, "warmup_steps": task.n_warmup, "weight_decay": 0.0,
            "beta1": BETAS[0], "beta2": BETAS[1], "eps": EPS, "grad_clip": CLIP_NORM,
        },
        "run": {
            "steps": task.n_steps, "batch_size": BATCH_SIZE, "precision": "bf16", "log_every": 1,
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


def train_theirs(task: Task) -> Turn:
    """open_clip's trainer from its start to its last step."""
    folder = task.folder / "open_clip"
    noted = folder / "report.json"
    shutil.rmtree(folder, ignore_errors=True)  # it refuses a run of a name that is there
    tower = {"image_size": IMAGE_SIZE, "layers": IMAGE_LAYERS, "width": WIDTH, "patch_size": PATCH_SIZE}
    texts = {"context_length": CONTEXT_LENGTH, "vocab_size": VOCAB_SIZE, "width": WIDTH, "heads": HEADS}
    config = {
        "embed_dim": WIDTH,
        "vision_cfg": {**tower, "head_width": WIDTH // HEADS},
        "text_cfg": {**texts, "layers": TEXT_LAYERS},
    }
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "bench.json").write_text(json.dumps(config), encoding="utf-8")
    given = {
        "model": "bench", "pretrained": task.weights, "precision": "amp_bf16", "seed": SEED, "device": "cpu",
        "train-data": task.pairs, "dataset-type": "csv", "csv-img-key": "filepath",
        "csv-caption-key": "title", "batch-size": BATCH_SIZE, "workers": N_WORKERS, "epochs": 1,
        "warmup": task.n_warmup, "lr": LEARNING_RATE, "beta1": BETAS[0], "beta2": BETAS[1], "eps": EPS,
        "wd": 0,
        "grad-clip-norm": CLIP_NORM, "log-every-n-steps": 1, "logs": folder / "logs", "name": "run",
        "save-frequency": 0, "report-to": "",
    }  # fmt: skip
    flags = [part for flag, value in given.items() for part in (f"--{flag}", value)]
    flags += ["--image-mean", *MEAN, "--image-std", *STD]
    flags += ["--aug-cfg", "scale=(1.0, 1.0)", "ratio=(1.0, 1.0)"]  # the whole image: no random crop
    command = [environment("open_clip") / "python", OPEN_CLIP_RUN, noted, folder / "configs", *flags]
    # paths in the table are relative
    peak_mb, cpu_share = measured(command, folder / "log.txt", cwd=task.pairs.parent)
    found = json.loads(noted.read_text(encoding="utf-8"))
    return Turn(found["seconds"], found["losses"], peak_mb, cpu_share)


def measured(
    command: Sequence[object],
    log: Path,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> tuple[float, float]:
    """Peak memory in MB and processor time over wall time. Raises SystemExit with the end of the log."""
    started = time.perf_counter()
    with log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(
            [str(part) for part in command], stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=cwd
        )
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        said = log.read_text(encoding="utf-8", errors="replace").splitlines()
        raise SystemExit("\n".join([*said[-N_TOLD:], f"{command[0]} ended with {process.returncode}"]))
    return used.ru_maxrss / 1024, (used.ru_utime + used.ru_stime) / (time.perf_counter() - started)


def turns_table(turns: Mapping[str, Sequence[Turn]]) -> str:
    """One row a trainer."""
    header = ["trainer", "images/s", "processor over wall time", "peak memory, MB", "final loss"]
    cells = [
        [
            name,
            spread([turn.images_per_s for turn in found], 0),
            f"{median(turn.cpu_share for turn in found):.2f}",
            f"{median(turn.peak_mb for turn in found):,.0f}",
            f"{median(turn.final_loss for turn in found):.4f}",
        ]
        for name, found in turns.items()
    ]
    return table(header, cells)


def verdicts(turns: Mapping[str, Sequence[Turn]]) -> Iterator[Verdict]:
    """Both bars, round by round, so that both trainers had the same machine."""
    pairs = list(zip(turns[OURS], turns[THEIRS], strict=True))
    speed = median(ours.images_per_s / theirs.images_per_s for ours, theirs in pairs)
    yield Verdict("images/s over open_clip's", f">= {SPEED_BAR}", f"{speed:.2f}", speed >= SPEED_BAR)
    off = median(abs(ours.final_loss / theirs.final_loss - 1) for ours, theirs in pairs)
    # Equal losses say something only where both are below what guessing gives.
    fell = f"theirs began at {turns[THEIRS][0].losses[0]:.2f}, guessing gives {math.log(BATCH_SIZE):.2f}"
    what = f"difference of the mean loss of the last {N_LAST} steps ({fell})"
    yield Verdict(what, f"<= {LOSS_BAR:.0%}", f"{off:.2%}", off <= LOSS_BAR)


if __name__ == "__main__":
    run(main)

"""Small runs on streams of pairs, from the command line: an interrupted run resumes exactly."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diptych_training.checkpoint import read_checkpoint
from diptych_training.cli import main
from diptych_training.config import DataConfig, TrainConfig, read_config
from diptych_training.data.packed import read_dataset
from diptych_training.errors import TrainingConfigError
from diptych_training.train.loop import Loop
from diptych_training.train.metrics_log import Series, read_metrics
from diptych_training.train.train_run import prepare
from support.pairs_run import write_pairs_run
from support.several_ranks import run_ranks
from support.small_recipe import small_recipe, write_small_recipe
from support.stopped_run import stopped_after
from support.tars import tar_of

pytestmark = pytest.mark.usefixtures("curves_undrawn")

OVERRIDES = [
    "name=small", "run.steps=8", "run.batch_size=8", "optim.warmup_steps=1", "run.precision=fp32",
    "run.log_every=1", "run.checkpoint_every=3", "run.validate_every=8", "run.best_by=['pairs_top1']",
    "data.pairs.streams=4",
    "data.pairs.shuffle=12", "data.pairs.workers=0", "augment.affine_probability=0.5",
]  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return write_pairs_run(tmp_path, *OVERRIDES)


def arguments(home: Path, *more: str) -> list[str]:
    folders = ["--data", str(home / "data"), "--runs-dir", str(home / "runs")]
    return ["train", str(home / "small.toml"), *folders, *more]


def loop_for(home: Path, name: str, *overrides: str, resume: bool = False) -> Loop:
    config: TrainConfig = read_config(home / "small.toml", overrides)
    return prepare(config, read_dataset(home / "data"), home / "runs" / name, resume=resume)


def finish(loop: Loop) -> Series:
    assert loop.train()
    loop.log.close()
    loop.batches.close()
    series = read_metrics(loop.folder.metrics_file)
    return {
        metric: points for metric, points in series.items() if metric not in ("images_per_s", "data/wait_s")
    }


def test_a_run_learns_from_shards_and_logs_what_it_read(home, capsys):
    assert main(arguments(home)) == 0
    assert "MiB of memory" in capsys.readouterr().out
    series = read_metrics(home / "runs" / "small" / "metrics.csv")
    assert series["data/read"][-1] == (8, 64.0)
    assert series["data/epoch"][-1][1] >= 1
    assert series["data/skipped"][-1] == (8, 0.0)
    assert len(series["data/wait_s"]) == 8
    assert 0 <= dict(series["validation/pairs_top1"])[8] <= 1


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.long)])
def test_an_interrupted_run_has_the_metrics_of_an_unbroken_run(home, workers):
    set_workers = f"data.pairs.workers={workers}"
    unbroken = finish(loop_for(home, "unbroken", set_workers))
    broken = stopped_after(loop_for(home, "broken", set_workers), 4)
    assert not broken.train()
    broken.log.close()
    broken.batches.close()
    assert broken.state.step == 4
    resumed = finish(loop_for(home, "broken", set_workers, resume=True))
    assert resumed == unbroken
    last = [
        read_checkpoint(home / "runs" / run / "checkpoints" / "last.safetensors")
        for run in ("unbroken", "broken")
    ]
    assert last[0].state == last[1].state
    assert all(torch.equal(tensor, last[1].tensors[name]) for name, tensor in last[0].tensors.items())


def test_random_crops_are_drawn_alike_for_the_same_step(home):
    rows = np.arange(0, 240, 4, dtype=np.uint8)
    slope = io.BytesIO()
    Image.fromarray(np.broadcast_to(rows[:, None, None], (60, 60, 3)).copy()).save(slope, "PNG")
    for shard in (home / "s").glob("*.tar"):
        files = {}
        for number in range(9):
            files |= {f"{number}.png": slope.getvalue(), f"{number}.txt": b"a slope"}
        shard.write_bytes(tar_of(files))
    images = []
    for name, crop in (("center", "center"), ("crop", "resized"), ("again", "resized")):
        changes = [
            "augment.affine_probability=0",
            f"data.pairs.crop={crop}",
            "data.pairs.crop_scale=[0.3, 0.6]",
        ]
        loop = loop_for(home, name, *changes)
        images.append(loop.batches.make(0).images)
        loop.log.close()
        loop.batches.close()
    assert len(images[0].flatten(1).unique(dim=0)) == 1
    assert len(images[1].flatten(1).unique(dim=0)) > 4
    assert torch.equal(images[1], images[2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["data.pairs.crop='square'", "data.pairs.decode='fast'"], 'a random crop needs decode = "exact"'),
        (["data.pairs.crop='resized'", "data.pairs.crop_scale=[0.9, 0.5]"], "the smaller one first"),
    ],
)
def test_a_crop_that_cannot_be_drawn_is_refused(home, changes, message):
    with pytest.raises(TrainingConfigError, match=message):
        read_config(home / "small.toml", changes)


def test_the_recipe_for_photographs_at_scale_trains_at_toy_size(home):
    """With a constant rate and without; everything but sizes as it is shipped."""
    toy = [
        "model={embed_dim=8, image_size=32, image={kind='resnet', layers=[1, 1, 1, 1], width=8, heads=2}, "
        "text={vocab_size=560, context_length=12, width=16, layers=1, heads=2}}",
        f"data.pairs.train='{home}/s/*.tar'", "data.pairs.streams=2", "data.pairs.workers=0",
        "data.pairs.tokenizer_pairs=20", "run.steps=4", "run.batch_size=4", "run.precision=fp32",
        "run.validate_every=4", "optim.warmup_steps=1", "run.best_by=['pairs_top1']",
    ]  # fmt: skip
    for schedule in ("cosine", "constant"):
        changes = [part for key in (*toy, f"optim.schedule={schedule}") for part in ("--set", key)]
        folders = ["--data", str(home / "data"), "--runs-dir", str(home / "runs"), "--name", schedule]
        assert main(["train", "cc3m-rn50", *folders, *changes]) == 0
        assert (home / "runs" / schedule / "best.safetensors").is_file()


@pytest.mark.long
def test_a_killed_run_repeats_lost_steps_with_the_same_pairs(home):
    unbroken = finish(loop_for(home, "unbroken"))
    child = [sys.executable, "-m", "support.killed_run", str(home / "small.toml"), str(home / "data")]
    where = [str(home / "runs" / "broken"), "5", str(torch.get_num_threads())]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[3]), *sys.path])}
    done = subprocess.run([*child, *where], check=False, env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    resumed = loop_for(home, "broken", resume=True)
    assert resumed.state.step == 3
    assert finish(resumed) == unbroken


def test_a_run_resumes_with_changed_files_only_on_request(home, capsys):
    two = ["--set", "run.steps=2"]
    assert main(arguments(home, *two)) == 0
    os.utime(home / "s" / "s-1.tar", ns=(0, 0))
    assert main(arguments(home, *two, "--resume")) == 1
    assert "s-1.tar has changed since the checkpoint was written" in capsys.readouterr().err
    assert main(arguments(home, *two, "--resume", "--set", "data.pairs.accept_changes=true")) == 0


@pytest.mark.long
def test_ranks_get_the_pairs_of_a_single_process_which_can_resume_their_run(home, tmp_path):
    pairs = read_config(home / "small.toml").data.pairs
    config = small_recipe(data=DataConfig(pairs=pairs), run={"best_by": ["pairs_top1"]})
    recipe = [str(write_small_recipe(tmp_path / "ranks.toml", config)), "--name"]
    folders = ["--data", str(home / "data"), "--runs-dir", str(home / "runs")]
    assert main(["train", *recipe, "alone", *folders]) == 0
    ended = run_ranks(2, "support.killed_rank", "5", "train", *recipe, "ranks", *folders)
    assert ended[1].returncode == -signal.SIGKILL
    assert main(["train", *recipe, "ranks", *folders, "--resume"]) == 0

    alone, ranks = (read_metrics(home / "runs" / name / "metrics.csv") for name in ("alone", "ranks"))
    assert dict(ranks["loss"]) == pytest.approx(dict(alone["loss"]), rel=1e-4)
    assert ranks["data/read"] == alone["data/read"]
    last = [
        read_checkpoint(home / "runs" / name / "checkpoints" / "last.safetensors")
        for name in ("alone", "ranks")
    ]
    assert last[0].state["data"] == last[1].state["data"]

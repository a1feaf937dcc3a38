"""Small runs on streams of pairs, from the command line: an interrupted run resumes exactly."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from diptych_training.checkpoint import read_checkpoint
from diptych_training.cli import main
from diptych_training.config import DataConfig, TrainConfig, read_config
from diptych_training.data.packed import read_dataset
from diptych_training.train.loop import Loop
from diptych_training.train.metrics_log import Series, read_metrics
from diptych_training.train.train_run import prepare
from support.pairs_run import write_pairs_run
from support.several_ranks import run_ranks
from support.small_recipe import small_recipe, write_small_recipe
from support.stopped_run import stopped_after

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

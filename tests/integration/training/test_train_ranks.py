"""Two processes train like one process with the whole batch; a lost process ends the run with a reason."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from diptych_training.checkpoint import load_run
from diptych_training.cli import main
from diptych_training.config import TrainConfig, read_config
from diptych_training.models import ResNetConfig
from diptych_training.train.metrics_log import read_metrics
from support.child_python import python_path
from support.several_ranks import run_ranks
from support.small_recipe import TwoSteps, small_recipe, two_steps, write_small_recipe
from support.tiny_run import TINY_RESNET, TINY_STEMMED_VIT, TINY_WORD_PIECES, write_tiny_dataset

MODES = {
    "copies": {},
    "copies in chunks": {"chunk_size": 2},
    "copies with checkpointed blocks": {"checkpoint_blocks": True},
    "shares": {"shard": True},
    "shares in chunks with checkpointed blocks": {"shard": True, "chunk_size": 2, "checkpoint_blocks": True},
}
LOCKED = {"image": 2, "text": 1, "scale": True}
BOTTLENECKS = ResNetConfig(block="bottleneck", layers=(1, 2), width=8, heads=2, stem_pool=False)
BATCH_NORMED = {
    "basic ResNet": TINY_RESNET,
    "bottleneck ResNet": BOTTLENECKS,
    "ViT with a stem": TINY_STEMMED_VIT,
}
COUNTING = ("copies", "shares")


def recipes() -> dict[str, TrainConfig]:
    """Every mode of scaling with averaged weights, and locks with sharded and replicated weights."""
    found = {mode: small_recipe(scale=scale, run={"ema_decay": 0.9}) for mode, scale in MODES.items()}
    for mode in ("copies", "shares"):
        found[f"{mode}, locked"] = small_recipe(scale=MODES[mode], lock=LOCKED)
    for kind, image in BATCH_NORMED.items():  # batch normalisation that counts has no whole batch to equal
        for mode in ("shares", "shares in chunks with checkpointed blocks"):
            found[f"{mode}, {kind}"] = small_recipe(image, scale=MODES[mode], lock={"statistics": True})
    for mode in ("copies", "shares in chunks with checkpointed blocks"):
        model = small_recipe().model.model_copy(update={"initial_bias": -2.0})
        found[f"{mode}, sigmoid"] = small_recipe(scale=MODES[mode], loss="sigmoid", model=model)
    distill = {"teachers": ["a", "b"], "weight": 0.7}
    for mode in ("copies", "copies in chunks", "shares"):
        found[f"{mode}, taught"] = small_recipe(scale=MODES[mode], distill=distill)
    texts = {"source": "any", "dims": 5, "weight": 0.6, "batch_size": 6}
    for mode in ("copies", "copies in chunks", "shares"):
        found[f"{mode}, taught texts"] = small_recipe(scale=MODES[mode], text_teacher=texts)
    return found | routed_recipes(texts)


def routed_recipes(texts: dict[str, object]) -> dict[str, TrainConfig]:
    """A text tower of word pieces, whose route learns from taught texts alone."""
    pieces = TINY_WORD_PIECES.model_copy(update={"vocab_size": 600, "mean_dim": 5, "routed": True})
    model = small_recipe().model.model_copy(update={"text": pieces})
    taught = {**texts, "template_probability": 0.5, "templates": {"drawing": ["{} icon"]}}
    return {
        f"{mode}, routed texts": small_recipe(scale=MODES[mode], model=model, text_teacher=taught)
        for mode in ("copies", "copies in chunks", "shares")
    }


def run_two_ranks(folder: Path, by_mode: dict[str, TrainConfig]) -> dict[str, TwoSteps]:
    """Run each recipe in two processes."""
    files = {mode: folder / f"{number}.toml" for number, mode in enumerate(by_mode)}
    for mode, file in files.items():
        write_small_recipe(file, by_mode[mode])
    for done in run_ranks(2, "support.several_ranks", str(folder), timeout_s=280):
        assert done.returncode == 0, done.stderr
    return {mode: TwoSteps(**torch.load(file.with_suffix(".pt"))) for mode, file in files.items()}


# One process of each rank does all of these; the other ways are done by the long tests.
OFTEN = (
    "copies",
    "shares in chunks with checkpointed blocks",
    "copies, sigmoid",
    "copies, taught texts",
    "copies, routed texts",
)


@pytest.fixture(scope="module")
def in_two_ranks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TwoSteps]:
    often = {mode: recipe for mode, recipe in recipes().items() if mode in OFTEN}
    return run_two_ranks(tmp_path_factory.mktemp("ranks"), often)


@pytest.fixture(scope="module")
def rarely_in_two_ranks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TwoSteps]:
    further = {mode: recipe for mode, recipe in recipes().items() if mode not in OFTEN}
    counting = {f"counting {mode}": small_recipe(BOTTLENECKS, scale=MODES[mode]) for mode in COUNTING}
    return run_two_ranks(tmp_path_factory.mktemp("further"), further | counting)


@pytest.mark.parametrize("mode", OFTEN)
def test_two_ranks_match_one_process_with_the_whole_batch(in_two_ranks, mode):
    assert_matches_one_process(in_two_ranks, mode)


def test_no_thread_of_a_group_outlives_python():
    """Such a thread aborts the process if it still has tensors of the last call."""
    for done in run_ranks(2, "support.ranks_that_end"):
        assert (done.returncode, done.stdout.strip()) == (0, "threads:"), done.stderr


@pytest.mark.long
@pytest.mark.parametrize("mode", [mode for mode in recipes() if mode not in OFTEN])
def test_two_ranks_match_one_process_in_every_mode(rarely_in_two_ranks, mode):
    assert_matches_one_process(rarely_in_two_ranks, mode)


def assert_matches_one_process(in_two_ranks: dict[str, TwoSteps], mode: str) -> None:
    alone = two_steps(recipes()[mode].model_copy(update={"scale": small_recipe().scale}))
    found = in_two_ranks[mode]
    assert found.losses == pytest.approx(alone.losses, rel=1e-5)
    assert found.gradients.keys() == alone.gradients.keys()
    for name, gradient in alone.gradients.items():
        assert_near(found.gradients[name], gradient, 2e-5, name)
    assert found.after.keys() == alone.after.keys()
    for name, tensor in alone.after.items():
        assert_near(
            found.after[name], tensor, 1e-3, name
        )  # Adam divides by gradients that are mostly rounding


@pytest.mark.long
def test_a_resnet_with_running_statistics_learns_the_same_sharded_and_replicated(rarely_in_two_ranks):
    copies, shares = (rarely_in_two_ranks[f"counting {mode}"] for mode in COUNTING)
    assert shares.losses == pytest.approx(copies.losses, rel=1e-5)
    for name, gradient in copies.gradients.items():
        assert_near(shares.gradients[name], gradient, 2e-5, name)


@pytest.mark.long
def test_every_weight_of_a_resnet_is_sharded_and_gathered_by_block(rarely_in_two_ranks):
    found = rarely_in_two_ranks["shares, bottleneck ResNet"]
    assert set(found.gradients) - set(found.sharded_weights) == {"logit_scale"}
    parts = {name for name in found.sharded_modules if name.startswith("visual.")}
    assert parts == {"visual.layer1.0", "visual.layer2.0", "visual.layer2.1", "visual.attnpool"}


@pytest.mark.long
@pytest.mark.parametrize("mode", ["copies", "shares", "shares in chunks with checkpointed blocks"])
def test_compiled_blocks_give_the_same_results_in_two_ranks(tmp_path, mode):
    compiled = small_recipe(scale={**MODES[mode], "compile": True})
    found, alone = run_two_ranks(tmp_path, {mode: compiled})[mode], two_steps(small_recipe())
    assert found.losses == pytest.approx(alone.losses, rel=1e-4)
    for name, gradient in alone.gradients.items():
        assert_near(found.gradients[name], gradient, 1e-4, name)


def assert_near(found: torch.Tensor, expected: torch.Tensor, share: float, name: str) -> None:
    """Assert that the norm of the difference is small relative to the expected norm.

    Sums are taken in another order, and some gradients consist of rounding errors only (a bias of keys).
    """
    difference = (found.float() - expected.float()).norm()
    assert difference <= share * expected.float().norm() + 2e-7, f"{name}: {difference}"


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """`train` with a small recipe, its data and a folder for runs."""
    write_tiny_dataset(tmp_path / "data", n_icons=12)
    write_small_recipe(tmp_path / "small.toml", small_recipe(run={"ema_decay": 0.9}))
    folders = ["--data", str(tmp_path / "data"), "--runs-dir", str(tmp_path / "runs")]
    return ["train", str(tmp_path / "small.toml"), *folders]


def losses(tmp_path: Path, name: str = "small") -> dict[int, float]:
    return dict(read_metrics(tmp_path / "runs" / name / "metrics.csv")["loss"])


@pytest.mark.long
@pytest.mark.parametrize("shard", ["false", "true"])
def test_a_lost_rank_ends_the_run_with_a_reason_and_one_process_can_resume(arguments, tmp_path, capfd, shard):
    assert main([*arguments, "--name", "unbroken"]) == 0
    ended = run_ranks(2, "support.killed_rank", "5", *arguments, "--set", f"scale.shard={shard}")
    assert ended[1].returncode == -9
    assert ended[0].returncode == 1, ended[0].stderr
    assert "diptych-train: step 5: another of the 2 ranks is gone, or did not answer" in ended[0].stderr
    assert "--resume" in ended[0].stderr

    assert main([*arguments, "--resume"]) == 0  # alone: another number of ranks, and weights that are whole
    assert losses(tmp_path) == pytest.approx(losses(tmp_path, "unbroken"), rel=1e-4)
    assert load_run(tmp_path / "runs" / "small", "last").step == 8


@pytest.mark.long
@pytest.mark.parametrize(
    ("stage", "shard"),
    [("data", "false"), ("model", "false"), ("wrap", "false"), ("wrap", "true"), ("trial", "true")],
)
def test_a_rank_lost_during_preparation_is_reported_and_the_run_can_start_again(
    arguments, tmp_path, stage, shard
):
    sharing = ["--set", f"scale.shard={shard}"]
    ended = run_ranks(2, "support.killed_rank", stage, *arguments, *sharing)
    assert ended[1].returncode == -9
    assert ended[0].returncode == 1, ended[0].stderr
    (line,) = [line for line in ended[0].stderr.splitlines() if line.startswith("diptych-train: ")]
    assert line.startswith("diptych-train: before the first step: another of the 2 ranks is gone, or did not")
    assert "within 600 s, which is scale.timeout_s" in line
    assert "start all of them again" in line
    assert "Traceback" not in ended[0].stderr

    again = run_ranks(2, "diptych_training", *arguments, *sharing)
    assert [one.returncode for one in again] == [0, 0], again[0].stderr
    assert load_run(tmp_path / "runs" / "small", "last").step == 8


@pytest.mark.long
def test_a_silent_rank_during_preparation_times_out(arguments):
    limit = ["--set", "scale.timeout_s=3"]
    ended = run_ranks(2, "support.killed_rank", "sleep", *arguments, *limit)
    assert ended[0].returncode == 1, ended[0].stderr
    assert "diptych-train: before the first step: another of the 2 ranks is gone" in ended[0].stderr
    assert "within 3 s, which is scale.timeout_s" in ended[0].stderr
    assert "Traceback" not in ended[0].stderr


@pytest.mark.long
@pytest.mark.parametrize("when", ["wrap", "5"])
def test_torchrun_restarts_a_run_that_lost_a_rank_and_it_resumes(arguments, tmp_path, when):
    assert main([*arguments, "--name", "unbroken"]) == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "--max-restarts", "1", "-m", "support.killed_rank", when, *arguments]
    environment = {**os.environ, "PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "SIGKILL" in done.stderr or "-9" in done.stderr  # torchrun's report of the first life
    assert losses(tmp_path) == pytest.approx(losses(tmp_path, "unbroken"), rel=1e-4)


@pytest.mark.long
def test_several_ranks_write_one_log_and_one_checkpoint_and_print_once(arguments, tmp_path):
    done = run_ranks(2, "diptych_training", *arguments)
    assert [one.returncode for one in done] == [0, 0], done[1].stderr
    assert done[0].stdout.count("run folder") == 1
    assert "2 ranks, each:" in done[0].stdout
    assert (done[1].stdout, done[1].stderr) == ("", "")
    rows = (tmp_path / "runs" / "small" / "metrics.csv").read_text().splitlines()
    assert len(rows) == len({tuple(row.split(",")[:2]) for row in rows})
    assert all(math.isfinite(loss) for loss in losses(tmp_path).values())
    assert {path.name for path in (tmp_path / "runs" / "small" / "checkpoints").iterdir()} == {
        "last.safetensors"
    }

    resumed = run_ranks(2, "diptych_training", *arguments, "--resume", "--set", "scale.shard=true")
    assert [one.returncode for one in resumed] == [0, 0], resumed[1].stderr
    assert read_config(tmp_path / "runs" / "small" / "config.toml").scale.shard is False  # as it began


@pytest.mark.long
def test_an_error_in_the_first_rank_ends_all_ranks(arguments):
    assert main(arguments) == 0
    done = run_ranks(2, "diptych_training", *arguments)
    assert [one.returncode for one in done] == [1, 1]
    assert "has a run already" in done[0].stderr
    assert "diptych-train: rank 1: the first rank could not begin" in done[1].stderr


@pytest.mark.long
def test_a_rank_that_never_joins_times_out(arguments):
    (done,) = run_ranks(1, "support.lonely_rank", "2", *arguments, "--set", "scale.timeout_s=3")
    assert done.returncode == 1
    assert "rank 0 of 2 could not join the others at 127.0.0.1:" in done.stderr

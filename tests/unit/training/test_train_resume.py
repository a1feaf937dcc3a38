"""Whole small runs: an interrupted one goes on exactly as if nothing had happened."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diptych_training.checkpoint import load_run, read_checkpoint
from diptych_training.config import DataConfig, OptimConfig, RunConfig, TrainConfig
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import TrainingConfigError, TrainingFailed
from diptych_training.models import CLIP, ModelConfig, TextConfig
from diptych_training.train.command import prepare
from diptych_training.train.loop import Loop
from diptych_training.train.metrics_log import Series, read_metrics
from support.tiny_run import TINY_RESNET, tiny_image_spec, tiny_text_spec, write_tiny_dataset

N_STEPS = 8
TEXT = TextConfig(vocab_size=600, context_length=12, width=16, layers=1, heads=2)
VALIDATION = {"emoji_top1": 0.1, "icons_top1": 0.2}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    return write_tiny_dataset(tmp_path_factory.mktemp("data"), n_icons=12)


def recipe(**run: object) -> TrainConfig:
    given = {"steps": N_STEPS, "batch_size": 8, "log_every": 1, "validate_every": 4, "checkpoint_every": 3}
    return TrainConfig(
        name="small",
        model=ModelConfig(embed_dim=8, image_size=32, image=TINY_RESNET, text=TEXT),
        preprocess=tiny_image_spec(),
        text=tiny_text_spec(),
        data=DataConfig(mixture={"icons": 1.0}),
        optim=OptimConfig(warmup_steps=2),
        run=RunConfig.model_validate(given | run),
    )


def loop_for(
    config: TrainConfig,
    dataset: PackedDataset,
    run_dir: Path,
    *,
    resume: bool = False,
    validate: Callable[[CLIP], dict[str, float]] = lambda model: VALIDATION,
) -> Loop:
    return replace(prepare(config, dataset, run_dir, resume=resume), validate=validate)


def finish(loop: Loop) -> Series:
    assert loop.train()
    loop.log.close()
    return read_metrics(loop.folder.metrics_file)


def without_times(series: Series) -> Series:
    return {metric: points for metric, points in series.items() if metric != "images_per_s"}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_interrupted_run_gives_the_curve_of_an_unbroken_one(dataset, tmp_path, precision):
    config = recipe(precision=precision, ema_decay=0.9)
    unbroken = finish(loop_for(config, dataset, tmp_path / "unbroken"))

    def stop_here(model: CLIP) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        return VALIDATION

    broken = loop_for(config, dataset, tmp_path / "broken", validate=stop_here)
    assert not broken.train()
    broken.log.close()
    assert broken.state.step == 4
    resumed = finish(loop_for(config, dataset, tmp_path / "broken", resume=True))

    assert without_times(resumed) == without_times(unbroken)
    last = [
        read_checkpoint(tmp_path / name / "checkpoints" / "last.safetensors")
        for name in ("unbroken", "broken")
    ]
    assert last[0].state == last[1].state
    assert all(torch.equal(tensor, last[1].tensors[name]) for name, tensor in last[0].tensors.items())


def test_a_killed_run_goes_on_from_its_last_checkpoint_and_repeats_the_rest(dataset, tmp_path):
    config = recipe()
    unbroken = finish(loop_for(config, dataset, tmp_path / "unbroken"))

    class Killed(BaseException):
        pass

    def die(model: CLIP) -> dict[str, float]:
        raise Killed

    broken = loop_for(
        config, dataset, tmp_path / "broken", validate=die
    )  # step 4; the checkpoint is of step 3
    with pytest.raises(Killed):
        broken.train()
    broken.log.close()
    resumed = loop_for(config, dataset, tmp_path / "broken", resume=True)
    assert resumed.state.step == 3
    assert without_times(finish(resumed)) == without_times(unbroken)


def test_the_best_weights_by_validation_are_kept(dataset, tmp_path):
    scores = iter([0.3, 0.1])
    config = recipe(best_by=["icons_top1"])
    finish(loop_for(config, dataset, tmp_path / "run", validate=lambda model: {"icons_top1": next(scores)}))
    run = load_run(tmp_path / "run")
    assert (run.step, run.metrics) == (4, {"icons_top1": 0.3})
    assert load_run(tmp_path / "run", which="last").step == N_STEPS
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_real_validation_measures_both_kinds(dataset, tmp_path):
    loop = prepare(recipe(), dataset, tmp_path / "run", resume=False)
    assert set(loop.validate(loop.state.judged)) == {"emoji_top1", "emoji_top5", "icons_top1", "icons_top5"}
    loop.log.close()


def test_a_run_in_the_way_is_refused_and_so_is_another_recipe(dataset, tmp_path):
    loop_for(recipe(), dataset, tmp_path / "run").log.close()
    with pytest.raises(TrainingConfigError, match="--resume"):
        loop_for(recipe(), dataset, tmp_path / "run")
    with pytest.raises(TrainingConfigError, match=r"steps = 8.*steps = 9"):
        loop_for(recipe(steps=9), dataset, tmp_path / "run", resume=True)
    with pytest.raises(TrainingConfigError, match="no run to resume"):
        loop_for(recipe(), dataset, tmp_path / "none", resume=True)


def test_a_metric_that_validation_does_not_give_ends_the_run(dataset, tmp_path):
    loop = loop_for(recipe(best_by=["photos_top1"]), dataset, tmp_path / "run")
    with pytest.raises(TrainingFailed, match="photos_top1"):
        loop.train()
    loop.log.close()

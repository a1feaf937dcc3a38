"""Every objective that a recipe names: it learns a toy problem, and an interrupted run resumes exactly."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diptych_training.checkpoint import read_checkpoint
from diptych_training.config import TrainConfig
from diptych_training.data.packed import PackedDataset
from diptych_training.train import loop as loops
from diptych_training.train.loop import Loop
from diptych_training.train.metrics_log import Series, read_metrics
from diptych_training.train.train_run import prepare
from support.small_recipe import small_recipe
from support.tiny_run import write_tiny_dataset

VALIDATION = {"emoji_top1": 0.1, "icons_top1": 0.2}
NONLINEAR = small_recipe().model.model_copy(update={"projection": "nonlinear", "initial_scale": 10.0})
OBJECTIVES = {"convirt": {"objective": {"kind": "convirt"}, "model": NONLINEAR}}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    return write_tiny_dataset(tmp_path_factory.mktemp("data"), n_icons=12)


def loop_for(config: TrainConfig, dataset: PackedDataset, run_dir: Path, *, resume: bool = False) -> Loop:
    return replace(prepare(config, dataset, run_dir, resume=resume), validate=lambda model: VALIDATION)


def finish(loop: Loop) -> Series:
    assert loop.train()
    loop.log.close()
    return read_metrics(loop.folder.metrics_file)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_interrupted_run_has_the_losses_and_weights_of_an_unbroken_run(
    name, dataset, tmp_path, monkeypatch
):
    monkeypatch.setattr(loops, "draw_curves", lambda series, title: b"")
    config = small_recipe(run={"ema_decay": 0.9}, **OBJECTIVES[name])
    unbroken = finish(loop_for(config, dataset, tmp_path / "unbroken"))

    def stop_here(model: torch.nn.Module) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        return VALIDATION

    broken = replace(loop_for(config, dataset, tmp_path / "broken"), validate=stop_here)
    assert not broken.train()
    broken.log.close()
    resumed = finish(loop_for(config, dataset, tmp_path / "broken", resume=True))

    assert resumed["loss"] == unbroken["loss"]
    last = [
        read_checkpoint(tmp_path / run / "checkpoints" / "last.safetensors") for run in ("unbroken", "broken")
    ]
    assert last[0].tensors.keys() == last[1].tensors.keys()
    assert all(torch.equal(tensor, last[1].tensors[name]) for name, tensor in last[0].tensors.items())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_loss_of_one_batch_falls_when_it_is_repeated(name, dataset, tmp_path):
    loop = prepare(small_recipe(**OBJECTIVES[name]), dataset, tmp_path / "run", resume=False)
    losses = []
    for _ in range(30):
        loss = loop.gradient_step.forward_backward(loop.batches.make(0))["loss"]
        loop.state.stepper.apply(3, loss)
        losses.append(float(loss))
    loop.log.close()
    assert losses[-1] < 0.8 * losses[0]

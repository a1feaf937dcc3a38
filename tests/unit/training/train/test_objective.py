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

VALIDATION = {"emoji_top1": 0.1, "icons_top1": 0.2}
NONLINEAR = small_recipe().model.model_copy(update={"projection": "nonlinear", "initial_scale": 10.0})
PREDICTIVE = ("bag_of_words", "static_softmax", "visual_ngrams", "virtex", "icmlm")
DROPPING = small_recipe().model.image.model_copy(update={"patch_dropout": 0.5})
OBJECTIVES = {
    "patch dropout": {"model": small_recipe().model.model_copy(update={"image": DROPPING})},
    "convirt": {"objective": {"kind": "convirt"}, "model": NONLINEAR},
    **{kind: {"objective": {"kind": kind}} for kind in PREDICTIVE},
}


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


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"start": "pictograms/5"}, "it cannot begin from start"),
        ({"lock": {"text": "all"}}, r"leave out lock\.text, lock\.scale"),
        ({"lock": {"scale": True}}, r"leave out lock\.text, lock\.scale"),
        ({"scale": {"shard": True}}, r"which scale\.shard cannot share"),
        ({"loss": "softmax", "label_smoothing": 0.1}, "leave out loss and label_smoothing"),
    ],
)
def test_a_recipe_without_a_text_tower_has_nothing_for_one(tables, message):
    with pytest.raises(ValueError, match=message):
        small_recipe(objective={"kind": "bag_of_words"}, **tables)


@pytest.mark.parametrize("kind", PREDICTIVE)
def test_chunks_add_up_to_the_whole_batch(dataset, tmp_path, kind):
    def gradients(name: str, **scale: int) -> dict[str, torch.Tensor]:
        config = small_recipe(objective={"kind": kind}, scale=scale)
        loop = prepare(config, dataset, tmp_path / name, resume=False)
        loop.log.close()
        loop.gradient_step.forward_backward(loop.batches.make(0))
        return {name: p.grad for name, p in loop.state.model.named_parameters()}

    torch.testing.assert_close(gradients("chunks", chunk_size=3), gradients("whole"))

"""Small runs: an interrupted run resumes exactly."""

import copy
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from diptych_training.checkpoint import load_run, read_checkpoint
from diptych_training.config import DataConfig, OptimConfig, RunConfig, ScaleConfig, TrainConfig, dump_config
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import TrainingConfigError
from diptych_training.models import CLIP, ModelConfig, TextConfig
from diptych_training.train import loop as loops
from diptych_training.train.batches.batch import Batch
from diptych_training.train.loop import Loop
from diptych_training.train.metrics_log import Series, read_metrics
from diptych_training.train.train_run import prepare
from support.child_python import python_path
from support.tiny_run import TINY_RESNET, tiny_image_spec, tiny_text_spec

N_STEPS = 8
TEXT = TextConfig(vocab_size=600, context_length=12, width=16, layers=1, heads=2)
VALIDATION = {"emoji_top1": 0.1, "icons_top1": 0.2}


class DeviceSyncs(TorchDispatchMode):
    """Counts the operations for which Python waits for a tensor's value: `item`, `if tensor`, dynamic
    sizes.
    """

    NAMES = ("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "unique_dim", "_unique2")

    n = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.n += func.overloadpacket.__name__ in self.NAMES
        return func(*args, **(kwargs or {}))


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
def test_an_interrupted_run_has_the_metrics_of_an_unbroken_run(dataset, tmp_path, monkeypatch, precision):
    monkeypatch.setattr(loops, "draw_curves", lambda series, title: b"")
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


def test_the_best_weights_by_validation_are_kept_by_a_resumed_run_too(dataset, tmp_path):
    scores = iter([0.3, 0.1, 0.2, 0.1])
    config = recipe(best_by=["icons_top1"], validate_every=2)
    for resume, until in ((False, 5), (True, N_STEPS)):
        loop = loop_for(config, dataset, tmp_path / "run", resume=resume)
        assert replace(loop, validate=lambda model: {"icons_top1": next(scores)}).train(until=until)
        loop.log.close()
    run = load_run(tmp_path / "run")
    assert (run.step, run.metrics) == (2, {"icons_top1": 0.3})
    assert load_run(tmp_path / "run", which="last").step == N_STEPS
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_an_existing_run_and_another_recipe_are_refused(dataset, tmp_path):
    finish(loop_for(recipe(), dataset, tmp_path / "run"))
    with pytest.raises(TrainingConfigError, match="--resume"):
        loop_for(recipe(), dataset, tmp_path / "run")
    with pytest.raises(TrainingConfigError, match=r"run.steps is 8 in the run and 9 in the conf"):
        loop_for(recipe(steps=9), dataset, tmp_path / "run", resume=True)
    with pytest.raises(TrainingConfigError, match="has no run to resume: start it without --resume"):
        loop_for(recipe(), dataset, tmp_path / "none", resume=True)


def test_non_finite_steps_change_only_the_count(dataset, tmp_path):
    config = recipe(ema_decay=0.9, precision="fp32", steps=2)
    loop = loop_for(config, dataset, tmp_path / "run")
    state = loop.state
    before = copy.deepcopy([state.model.state_dict(), state.ema.tensors()])

    class InfinitePixel:
        def make(self, step: int) -> Batch:
            batch = loop.batches.make(step)
            batch.images[0, 0, 0, 0] = torch.inf
            return batch

        def __getattr__(self, name: str) -> object:
            return getattr(loop.batches, name)

    assert replace(loop, batches=InfinitePixel()).train()

    after = [state.model.state_dict(), state.ema.tensors()]
    for old, new in zip(before, after, strict=True):
        assert all(torch.equal(tensor, new[name]) for name, tensor in old.items())
    loop.log.close()
    resumed = loop_for(config, dataset, tmp_path / "run", resume=True)
    resumed.log.close()
    for one in (state, resumed.state):
        assert (one.step, one.stepper.n_skipped, one.stepper.n_skipped_in_row) == (2, 2, 2)


@pytest.mark.long
def test_steps_do_not_wait_for_the_device_until_they_are_logged(dataset, tmp_path):
    """Each synchronisation waits for all queued work. Their number must not grow with the number of steps."""

    def n_syncs(n_steps: int, **memory_saving: object) -> int:
        config = recipe(steps=n_steps, log_every=100, validate_every=100, checkpoint_every=100, ema_decay=0.9)
        config = config.model_copy(update={"scale": ScaleConfig.model_validate(memory_saving)})
        loop = loop_for(config, dataset, tmp_path / f"{n_steps}{memory_saving}")
        batch = loop.batches.make(0)

        class SameBatch:
            def make(self, _step: int) -> Batch:
                return batch

            def numbers(self) -> dict[str, float]:
                return {}

            def position(self, _step: int) -> dict[str, object]:
                return {}

        with DeviceSyncs() as syncs:
            finish(replace(loop, batches=SameBatch()))
        return syncs.n

    assert n_syncs(2) == n_syncs(6) > 0
    assert n_syncs(2, chunk_size=3) == n_syncs(6, chunk_size=3)


def test_a_killed_run_resumes_with_the_metrics_of_an_unbroken_run(dataset, tmp_path):
    config = recipe(start_size=16, start_fraction=0.75, precision="fp32", ema_decay=0.9)  # 6 small steps of 8
    (tmp_path / "small.toml").write_text(dump_config(config))
    unbroken = finish(loop_for(config, dataset, tmp_path / "unbroken"))
    child = [sys.executable, "-m", "support.killed_run", str(tmp_path / "small.toml"), str(dataset.path)]
    where = [str(tmp_path / "broken"), "5", str(torch.get_num_threads())]
    environment = os.environ | {"PYTHONPATH": python_path()}

    done = subprocess.run([*child, *where], check=False, env=environment, capture_output=True, text=True)

    assert done.returncode == -signal.SIGKILL, done.stderr
    resumed = loop_for(config, dataset, tmp_path / "broken", resume=True)
    assert resumed.state.step == 3
    curve = finish(resumed)
    assert curve["loss"] == unbroken["loss"]
    assert without_times(curve) == without_times(unbroken)

"""Checkpoint files and reading a run back."""

import resource
import signal
from pathlib import Path

import pytest
import torch

from diptych_training.checkpoint import Checkpoint, load_run, read_checkpoint, write_checkpoint
from diptych_training.errors import CheckpointError
from diptych_training.run_folder import RunFolder
from support.tiny_run import write_tiny_run


def test_tensors_and_state_read_back_exactly(tmp_path: Path):
    kernel = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
    state = {"step": 3, "best_score": 0.1 + 0.2, "metrics": {"a": 1e-30}}
    write_checkpoint(tmp_path / "new" / "c.safetensors", Checkpoint({"model.w": kernel}, state))
    found = read_checkpoint(tmp_path / "new" / "c.safetensors")
    assert torch.equal(found.under("model.")["w"], kernel)
    assert found.state == state


def test_a_disk_that_is_too_small_is_an_error_of_the_system_with_the_file(tmp_path: Path):
    path = tmp_path / "c.safetensors"
    write_checkpoint(path, Checkpoint({"model.w": torch.ones(1)}, {"step": 1}))
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            write_checkpoint(path, Checkpoint({"model.w": torch.ones(50_000)}, {"step": 2}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.filename == str(path)
    assert read_checkpoint(path).state == {"step": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["c.safetensors"]


def test_a_missing_or_cut_off_checkpoint_is_named(tmp_path: Path):
    path = tmp_path / "c.safetensors"
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        read_checkpoint(path)
    write_checkpoint(path, Checkpoint({"model.w": torch.ones(100)}, {"step": 1}))
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(CheckpointError, match=r"c\.safetensors: not a checkpoint"):
        read_checkpoint(path)


def test_a_run_reads_back_whole_and_ready_to_evaluate(tmp_path: Path):
    run = load_run(write_tiny_run(tmp_path / "tiny"))
    assert (run.step, run.metrics, run.config.name) == (7, {"icons_top1": 0.25}, "tiny")
    assert not run.model.training
    assert run.image_spec.size == run.model_config.image_size
    assert run.text_spec.context_length == run.model_config.text.context_length


def test_the_last_checkpoint_loads_its_average_if_it_has_one(tmp_path: Path):
    folder = RunFolder(write_tiny_run(tmp_path / "tiny"))
    weights = read_checkpoint(folder.best).under("model.")
    averaged = {f"ema.{name}": torch.full_like(tensor, 2) for name, tensor in weights.items()}
    latest = {f"model.{name}": tensor for name, tensor in weights.items()}
    write_checkpoint(folder.last, Checkpoint(latest | averaged, {"step": 9}))
    run = load_run(folder.path, which="last")
    assert run.step == 9
    assert run.model.logit_scale.item() == 2


def test_an_incomplete_or_foreign_run_folder_is_named(tmp_path: Path):
    folder = RunFolder(write_tiny_run(tmp_path / "tiny"))
    foreign = folder.model_file.read_text().replace('"embed_dim":16', '"embed_dim":8')
    folder.model_file.write_text(foreign)
    with pytest.raises(CheckpointError, match=r"do not fit model\.json"):
        load_run(folder.path)
    folder.text_spec_file.unlink()
    folder.model_file.write_text(foreign.replace('"embed_dim":8', '"embed_dim":16'))
    with pytest.raises(CheckpointError, match=r"text\.json is missing"):
        load_run(folder.path)

"""A run whose image tower starts from another library's weights."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from diptych_training.checkpoint import load_run
from diptych_training.config import TrainConfig, read_config
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import CheckpointError, ImportFailed
from diptych_training.models import CLIP
from diptych_training.run_folder import RunFolder
from diptych_training.train.train_run import prepare
from support.lite_weights import write_lite_weights
from support.small_recipe import small_recipe
from support.tiny_run import TINY_LITE


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights with timm's names, with a classifier."""
    return write_lite_weights(tmp_path_factory.mktemp("weights") / "lite.safetensors", TINY_LITE)


def recipe(tower: Path | None, **tables: object) -> TrainConfig:
    given = {} if tower is None else {"start_image": {"source": str(tower), "licence": "Apache-2.0"}}
    return small_recipe(TINY_LITE, **given, **tables)


def model_of(config: TrainConfig, dataset: PackedDataset, folder: Path, *, resume: bool = False) -> CLIP:
    loop = prepare(config, dataset, folder, resume=resume)
    loop.log.close()
    assert isinstance(loop.state.model, CLIP)
    return loop.state.model


def test_the_tower_has_the_weights_of_the_file_and_the_rest_is_as_without_it(
    dataset: PackedDataset, tower: Path, tmp_path: Path
) -> None:
    begun = model_of(recipe(tower), dataset, tmp_path / "begun").state_dict()
    plain = model_of(recipe(None), dataset, tmp_path / "plain").state_dict()
    changed = {name for name, tensor in begun.items() if not torch.equal(tensor, plain[name])}
    assert {name for name in begun if name.startswith(("visual.stem.", "visual.blocks."))} == changed | {
        name for name in begun if name.endswith("num_batches_tracked")
    }
    assert begun["visual.stem.conv.weight"].min() >= 0  # drawn from 0 to 1, unlike a fresh one


def test_the_run_keeps_the_weights_when_the_file_is_gone(
    dataset: PackedDataset, tower: Path, tmp_path: Path
) -> None:
    moved = tower.rename(tmp_path / "moved.safetensors")
    begun = model_of(recipe(moved), dataset, tmp_path / "begun").state_dict()
    moved.rename(tower)
    config = read_config(RunFolder(tmp_path / "begun").config_file)
    again = model_of(config, dataset, tmp_path / "begun", resume=True).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in begun.items())
    started = load_run(tmp_path / "begun", "start").model.state_dict()
    assert torch.equal(started["visual.stem.conv.weight"], begun["visual.stem.conv.weight"])


def test_a_file_that_does_not_fit_is_named_and_no_run_is_left(dataset: PackedDataset, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file({"conv_stem.weight": torch.zeros(32, 3, 3, 3)}, other)
    for source, kind in ((other, CheckpointError), (tmp_path / "none.pth", ImportFailed)):
        with pytest.raises(kind, match=source.name):
            model_of(recipe(source), dataset, tmp_path / "run")
    assert not (tmp_path / "run").exists()

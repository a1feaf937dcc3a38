"""Weights as three libraries publish them, read from their files for a run to start from."""

import re

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from diptych_training.errors import CheckpointError
from diptych_training.importing.pretrained import load_pretrained
from diptych_training.importing.weight_names import to_layout
from diptych_training.models import ModelConfig, ResNetConfig, TextConfig, ViTConfig, build_model
from support.families import FAMILIES, random_model
from support.openai_checkpoints import make_openai_archive, make_openai_state_dict, openai_model

VIT, SIGLIP = FAMILIES["vit of transformers"], FAMILIES["siglip of transformers"]


OPENAI_TEXT = TextConfig(vocab_size=49408, context_length=77, width=128, layers=2, heads=2)
OPENAI_IMAGES = {
    "vit": (32, ViTConfig(patch_size=8, width=128, layers=2, heads=2)),
    "resnet": (64, ResNetConfig(layers=(1, 1, 1, 1), width=16, heads=8)),
}


def sizes_of(kind: str) -> ModelConfig:
    """What `support.openai_checkpoints` makes."""
    size, image = OPENAI_IMAGES[kind]
    return ModelConfig(embed_dim=32, image_size=size, image=image, text=OPENAI_TEXT)


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], atol: float = 0.0) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=atol)
        assert found[name].dtype == tensor.dtype


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_file_of_any_layout_is_read_under_our_names(tmp_path, name, suffix):
    family = FAMILIES[name]
    ours = random_model(family.config).state_dict()
    state = {
        name: tensor.contiguous() for name, tensor in to_layout(ours, family.config, family.layout).items()
    }
    file = tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save(state, file)
    else:
        save_file(state, file)
    assert_same(load_pretrained(file, family.config), ours)


@pytest.mark.parametrize("family", [VIT, SIGLIP], ids=["clip", "siglip"])
def test_a_folder_of_transformers_is_read_whole_or_in_shards(tmp_path, family):
    ours = random_model(family.config)
    theirs = family.theirs()
    theirs.load_state_dict(to_layout(ours.state_dict(), family.config, family.layout))
    theirs.save_pretrained(tmp_path / "whole")
    theirs.save_pretrained(tmp_path / "shards", max_shard_size="50KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    for folder in ("whole", "shards"):
        assert_same(load_pretrained(tmp_path / folder, family.config), ours.state_dict())


@pytest.mark.parametrize("kind", ["vit", pytest.param("resnet", marks=pytest.mark.long)])
def test_openai_s_archives_and_state_dicts_are_read_strictly_and_in_float32(tmp_path, kind):
    original = openai_model(kind)
    config = sizes_of(kind)
    archive = make_openai_archive(tmp_path / "archive.pt", kind)
    from_archive = load_pretrained(archive, config)
    build_model(config).load_state_dict(from_archive, strict=True)
    assert_same(from_archive, original.state_dict(), atol=0.01)  # its matrices are in float16
    from_state = load_pretrained(make_openai_state_dict(tmp_path / "state.pt", kind), config)
    assert_same(from_state, original.state_dict())


def test_what_does_not_fit_is_named(tmp_path):
    state = to_layout(random_model(VIT.config).state_dict(), VIT.config, "hugging_face")
    del state["logit_scale"]
    state["decoder.weight"] = torch.zeros(2)
    torch.save(state, tmp_path / "odd.pt")
    message = f"{tmp_path / 'odd.pt'}: the weights do not fit the architecture; missing: logit_scale; "
    with pytest.raises(CheckpointError, match=re.escape(f"{message}not part of the model: decoder.weight")):
        load_pretrained(tmp_path / "odd.pt", VIT.config)


def test_weights_of_something_else_are_refused(tmp_path):
    torch.save({"classifier.weight": torch.zeros(2, 2)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="these are not tensor names of a supported CLIP or SigLIP"):
        load_pretrained(tmp_path / "other.pt", VIT.config)

"""Tensor names and shapes of architectures at full size, without weights, against the original libraries."""

import open_clip
import pytest
import torch
from torch import nn
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

from diptych_training.importing.weight_names import from_layout, layout_of, to_layout
from diptych_training.models.count import meta_model
from diptych_training.models.named_architectures import architecture_names, named_config


def theirs(name: str) -> nn.Module:
    """open_clip's own model of that name, on the meta device."""
    config = open_clip.get_model_config(name)
    kind = open_clip.CustomTextCLIP if config.pop("custom_text", False) else open_clip.CLIP
    with torch.device("meta"):
        return kind(**config)


def shapes(state: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}


OFTEN = ("RN50", "ViT-B-32", "ViT-B-16-SigLIP")  # one of each family


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in OFTEN else pytest.mark.long) for name in architecture_names()],
)
def test_every_tensor_has_open_clip_s_name_and_shape(name):
    config = named_config(name)
    expected = theirs(name).state_dict()
    found = to_layout(meta_model(config).state_dict(), config, layout_of(expected))
    assert shapes(found) == shapes(expected)
    assert shapes(from_layout(expected, config)) == shapes(meta_model(config).state_dict())


@pytest.mark.parametrize(
    ("name", "kind", "sizes"),
    [("ViT-B-32", CLIPModel, CLIPConfig), ("ViT-B-16-SigLIP", SiglipModel, SiglipConfig)],
)
def test_every_tensor_has_the_name_and_shape_of_transformers_default_sizes(name, kind, sizes):
    config = named_config(name)
    with torch.device("meta"):
        expected = kind(sizes()).state_dict()
    found = to_layout(meta_model(config).state_dict(), config, layout_of(expected))
    assert shapes(found) == shapes(expected)
    assert shapes(from_layout(expected, config)) == shapes(meta_model(config).state_dict())

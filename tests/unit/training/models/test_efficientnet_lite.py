"""EfficientNet-Lite computes what timm's does, and starts from the weights of other libraries."""

import re

import pytest
import timm
import torch
from torch import Tensor, nn

from diptych_training.config import LockConfig
from diptych_training.importing.weight_names.image_towers import image_tower_weights
from diptych_training.models import CLIP, EfficientNetLiteConfig, build_model
from diptych_training.models.depth import Depth, depths
from diptych_training.train.lock import lock
from support.tiny_run import TINY_LITE, tiny_clip

LITES = {"tf_efficientnet_lite0": (1.0, 1.0), "tf_efficientnet_lite2": (1.1, 1.2)}


def timms(name: str = "tf_efficientnet_lite0") -> nn.Module:
    """With random weights and statistics that make every part matter."""
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    for key, tensor in model.state_dict().items():  # shares memory with the model
        if "bn" in key and tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    return model


def pytorch_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of the package `efficientnet-lite-pytorch`, whose blocks are counted through all stages."""
    starts = sorted({tuple(map(int, name.split(".")[1:3])) for name in state if name.startswith("blocks.")})

    def renamed(name: str) -> str:
        block = re.match(r"blocks\.(\d+)\.(\d+)\.(\w+)\.(.*)", name)
        if block is None:
            outer = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
            part, _, kind = name.partition(".")
            return f"{outer.get(part, '_fc')}.{kind}"
        stage, index, part, kind = int(block[1]), int(block[2]), block[3], block[4]
        first = {"conv_dw": "_depthwise_conv", "conv_pw": "_project_conv", "bn1": "_bn1", "bn2": "_bn2"}
        later = {
            "conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1",
            "conv_pwl": "_project_conv", "bn3": "_bn2",
        }  # fmt: skip
        return f"_blocks.{starts.index((stage, index))}.{(later if stage else first)[part]}.{kind}"

    return {renamed(name): tensor for name, tensor in state.items()}


def started(state: dict[str, Tensor], image: EfficientNetLiteConfig) -> CLIP:
    config = tiny_clip(image)
    model = build_model(config).eval()
    unknown = model.load_state_dict(image_tower_weights(state, config), strict=False).unexpected_keys
    assert unknown == []
    return model


@pytest.mark.parametrize("name", LITES)
@pytest.mark.parametrize("names", [dict, pytorch_names])
def test_features_are_those_of_the_other_library(name, names):
    theirs, (width, depth) = timms(name), LITES[name]
    ours = started(names(theirs.state_dict()), EfficientNetLiteConfig(width=width, depth=depth))
    pixels = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = theirs.forward_features(pixels)
        torch.testing.assert_close(ours.visual.grid(pixels), expected.flatten(2).transpose(1, 2))
        pooled = ours.visual.proj(expected.mean(dim=(2, 3)))
        torch.testing.assert_close(ours.encode_image(pixels), pooled)


@pytest.mark.parametrize("names", [dict, pytorch_names])
@torch.no_grad()
def test_classifier_and_folded_norms_give_the_scores_of_the_other_library(names):
    theirs, pixels = timms(), torch.randn(2, 3, 64, 64)
    image = EfficientNetLiteConfig(classes=1000, temperature=1.5, norm=False)
    ours = started(names(theirs.state_dict()), image)
    expected = (theirs(pixels) / 1.5).softmax(dim=1) @ ours.visual.class_embedding
    torch.testing.assert_close(ours.encode_image(pixels), expected)


def test_all_but_the_projection_can_be_locked():
    model = build_model(tiny_clip(TINY_LITE))
    placed = depths(name for name, _ in model.named_parameters())
    assert placed["visual.stem.conv.weight"] == Depth("image", 0, 10)
    assert placed["visual.blocks.7.bn.bias"] == Depth("image", 8, 10)
    lock(model, LockConfig(image=9))
    assert [n for n, p in model.visual.named_parameters() if p.requires_grad] == ["proj.weight"]

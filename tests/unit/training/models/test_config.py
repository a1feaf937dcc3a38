"""Architectures as data."""

import pytest
import torch
from pydantic import ValidationError

from diptych_training.models import ModelConfig, ResNetConfig, TextConfig, ViTConfig, build_model

TEXT = TextConfig(vocab_size=600, context_length=8, width=16, layers=1, heads=2)


@pytest.mark.parametrize("stem_pool", [True, False])
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_small_resnets_give_features_of_the_shared_space(block, stem_pool):
    image = ResNetConfig(block=block, layers=(1, 1), width=8, planes=(8, 12), heads=2, stem_pool=stem_pool)
    model = build_model(ModelConfig(embed_dim=10, image_size=32, image=image, text=TEXT))
    image_features, text_features = model(torch.zeros(2, 3, 32, 32), torch.zeros(3, 5, dtype=torch.long))
    assert image_features.shape == (2, 10)
    assert text_features.shape == (3, 10)


def test_texts_may_have_an_activation_of_their_own():
    image = ViTConfig(patch_size=8, width=16, layers=1, heads=2)
    text = TEXT.model_copy(update={"activation": "gelu"})
    model = build_model(ModelConfig(embed_dim=8, image_size=32, image=image, text=text))
    assert isinstance(model.transformer.resblocks[0].mlp.gelu, torch.nn.GELU)
    assert not isinstance(model.visual.transformer.resblocks[0].mlp.gelu, torch.nn.GELU)


def test_a_model_config_reads_back_from_its_json():
    image = ViTConfig(patch_size=8, width=16, layers=1, heads=2)
    config = ModelConfig(embed_dim=8, image_size=32, image=image, text=TEXT)
    assert ModelConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"kind": "resnet", "layers": [1, 1], "width": 8, "planes": [8], "heads": 1}, "planes has 1 stages"),
        ({"kind": "resnet", "layers": [1], "width": 7, "heads": 1}, "width is 7"),
        ({"kind": "resnet", "layers": [1], "width": 8, "heads": 5}, "heads 5 does not divide"),
        (
            {"kind": "vit", "patch_size": 5, "width": 8, "layers": 1, "heads": 1},
            "not a multiple of the stride 5",
        ),
        ({"kind": "vit", "patch_size": 8, "width": 8, "layers": 1, "heads": 1, "depth": 2}, "depth"),
    ],
)
def test_an_impossible_architecture_is_refused(image, message):
    with pytest.raises(ValidationError, match=message):
        ModelConfig.model_validate(
            {"embed_dim": 8, "image_size": 32, "image": image, "text": TEXT.model_dump()}
        )

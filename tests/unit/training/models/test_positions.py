"""Positional embeddings for images of another size than the model's own."""

import torch

from diptych_training.models import ModelConfig, ResNetConfig, TextConfig, ViTConfig, build_model
from diptych_training.models.layers import positions_for


def test_positions_at_the_models_own_size_are_the_parameter_itself():
    embedding = torch.randn(17, 4)
    assert positions_for(embedding, 16) is embedding


def test_a_smaller_grid_keeps_the_first_position_and_the_layout():
    ramp = torch.arange(4.0).repeat(4, 1)  # grows from left to right
    embedding = torch.cat([torch.tensor([9.0]), ramp.flatten()])[:, None]
    first, *cells = positions_for(embedding, 4).squeeze(1).tolist()
    assert first == 9
    left, right = cells[0], cells[1]
    assert cells == [left, right, left, right]
    assert 0 < left < 1.5 < right < 3


def test_both_towers_take_smaller_images():
    text = TextConfig(vocab_size=600, context_length=8, width=16, layers=1, heads=2)
    resnet = ResNetConfig(block="basic", layers=(1, 1), width=8, heads=2, stem_pool=False)
    for image in (resnet, ViTConfig(patch_size=4, width=16, layers=1, heads=2)):
        model = build_model(ModelConfig(embed_dim=10, image_size=32, image=image, text=text))
        assert model.encode_image(torch.zeros(2, 3, 16, 16)).shape == (2, 10)

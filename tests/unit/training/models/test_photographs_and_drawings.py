"""The image tower of two, and the photographs' tower that keeps its classifier."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from diptych_training.models import CLIP, build_model
from diptych_training.models.photographs_and_drawings import PhotographsAndDrawings
from support.tiny_run import TINY_PAIR, tiny_clip

SIZE, PHOTOGRAPH_DIM = 64, TINY_PAIR.photograph_dim


@pytest.fixture
def model() -> CLIP:
    torch.manual_seed(1)
    return build_model(tiny_clip(TINY_PAIR, image_size=SIZE)).eval()


@pytest.fixture
def pixels() -> Tensor:
    return torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))


def pair_of(model: CLIP) -> PhotographsAndDrawings:
    assert isinstance(model.visual, PhotographsAndDrawings)
    return model.visual


@torch.no_grad()
def test_a_drawing_has_the_features_of_the_drawings_tower_and_a_photograph_those_of_the_other(
    model: CLIP, pixels: Tensor
) -> None:
    pair = pair_of(model)
    drawing = F.normalize(pair.drawings(F.avg_pool2d(pixels, 2)), dim=1)
    photograph = F.normalize(pair.photographs(pixels), dim=1)
    nothing = torch.zeros_like(photograph)
    pair.gate.bias.fill_(-1e4)
    torch.testing.assert_close(model.encode_image(pixels), torch.cat([nothing, drawing], dim=1))
    pair.gate.bias.fill_(1e4)
    torch.testing.assert_close(model.encode_image(pixels), torch.cat([photograph, 0 * drawing], dim=1))


@torch.no_grad()
def test_the_gate_weighs_both_halves_for_each_image(model: CLIP, pixels: Tensor) -> None:
    weights = torch.sigmoid(pair_of(model).gate(pair_of(model).photographs.pooled(pixels)))[:, 0]
    halves = model.encode_image(pixels).tensor_split([PHOTOGRAPH_DIM], dim=1)
    torch.testing.assert_close(halves[0].norm(dim=1), weights)
    torch.testing.assert_close(halves[1].norm(dim=1), 1 - weights)

"""ConVIRT: its loss by the formulas of the paper, its random spans, and its projections."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from diptych_training.models import build_model
from diptych_training.objectives.contrastive import Pairs
from diptych_training.objectives.convirt import Convirt, ConvirtConfig
from support.small_recipe import small_recipe

START, END = 98, 99


def nonlinear(**tables):
    model = small_recipe().model.model_copy(update={"projection": "nonlinear", "initial_scale": 10.0})
    return small_recipe(model=model, **tables)


def test_the_loss_is_the_weighted_mean_of_the_paper():
    """Equations 2 to 4, one pair at a time, with a temperature of 0.1."""
    v, u, temperature, weight = torch.randn(4, 3), torch.randn(4, 3), 0.1, 0.75

    def cosine(a, b):
        return float(a @ b / (a.norm() * b.norm()))

    total = 0.0
    for i in range(4):
        own = math.exp(cosine(v[i], u[i]) / temperature)
        image_to_text = -math.log(own / sum(math.exp(cosine(v[i], u[k]) / temperature) for k in range(4)))
        text_to_image = -math.log(own / sum(math.exp(cosine(u[i], v[k]) / temperature) for k in range(4)))
        total += weight * image_to_text + (1 - weight) * text_to_image
    pairs = Pairs(v, u, torch.eye(4, dtype=torch.bool))
    found = Convirt(ConvirtConfig(image_weight=weight)).loss(pairs, torch.tensor(math.log(1 / temperature)))
    assert float(found) == pytest.approx(total / 4, rel=1e-5)


def test_the_temperature_is_not_learned():
    scale = torch.tensor(math.log(10.0), requires_grad=True)
    features = torch.randn(4, 3, requires_grad=True)
    Convirt(ConvirtConfig()).loss(Pairs(features, features, torch.eye(4, dtype=torch.bool)), scale).backward()
    assert scale.grad is None
    assert features.grad is not None


def test_a_span_of_each_caption_is_drawn_between_its_start_and_its_end():
    ids = torch.tensor(
        [[START, 1, 2, 3, 4, END, 0], [START, 7, END, 0, 0, 0, 0], [START, END, 0, 0, 0, 0, 0]]
    )
    seen = set()
    for seed in range(300):
        drawn = Convirt(ConvirtConfig()).draw(ids, np.random.default_rng(seed))
        assert drawn[1:].tolist() == ids[1:].tolist()
        row = drawn[0].tolist()
        end = row.index(END)
        assert row[0] == START
        assert set(row[end + 1 :]) <= {0}
        seen.add(tuple(row[1:end]))
    spans = {tuple(range(first, last)) for first in range(1, 5) for last in range(first + 1, 6)}
    assert seen == spans


def test_the_projections_are_two_layers_with_a_relu_between_them():
    model = build_model(nonlinear().model)
    pixels = torch.randn(2, 3, 32, 32)
    inner = model.visual(pixels)
    expected = F.relu(inner) @ model.visual_head.weight.T + model.visual_head.bias
    torch.testing.assert_close(model.encode_image(pixels), expected)
    texts = torch.randint(1, 599, (2, 5))
    linear = build_model(small_recipe().model)
    linear.load_state_dict({n: t for n, t in model.state_dict().items() if "_head" not in n})
    expected = F.relu(linear.encode_text(texts)) @ model.text_head.weight.T + model.text_head.bias
    torch.testing.assert_close(model.encode_text(texts), expected)

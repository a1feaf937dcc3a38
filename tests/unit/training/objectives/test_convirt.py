"""ConVIRT: its loss by the formulas of the paper, its texts, and its projections."""

import math

import pytest
import torch
import torch.nn.functional as F

from diptych_training.models import build_model
from diptych_training.objectives.contrastive import Pairs
from diptych_training.objectives.convirt import Convirt, ConvirtConfig
from diptych_training.train.train_run import prepare
from support.small_recipe import small_recipe


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


def test_equal_texts_of_a_batch_are_positives_of_each_other(dataset, tmp_path):
    config = nonlinear(objective={"kind": "convirt"}, run={"batch_size": 32})
    loop = prepare(config, dataset, tmp_path / "run", resume=False)
    loop.log.close()
    for step in range(4):
        batch = loop.batches.make(step)
        is_equal = (batch.input_ids[:, None] == batch.input_ids[None]).all(dim=2)
        assert is_equal.sum() > len(is_equal)  # some texts come twice
        assert (batch.positives | ~is_equal).all()
        assert batch.positives.float().mean() < 0.5  # most are not: their texts differ


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

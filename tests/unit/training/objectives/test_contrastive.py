"""The contrastive losses, for whole batches and for slices."""

import math

import pytest
import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss, SigLipLoss
from torch import Tensor

from diptych_training.objectives.clip import Clip
from diptych_training.objectives.contrastive import Contrastive, Pairs
from diptych_training.objectives.convirt import Convirt, ConvirtConfig
from diptych_training.objectives.siglip import Siglip

SCALE, BIAS = torch.tensor(math.log(10.0)), torch.tensor(-10.0)


def features(n: int = 6, dim: int = 4) -> tuple[Tensor, Tensor]:
    return torch.randn(n, dim), torch.randn(n, dim)


def units(pair: tuple[Tensor, Tensor]) -> list[Tensor]:
    return [F.normalize(side, dim=-1) for side in pair]


def distinct(n: int) -> Tensor:
    return torch.eye(n, dtype=torch.bool)


def equal(*captions: int) -> Tensor:
    """(B, B): which of these captions are equal."""
    group = torch.tensor(captions)
    return group[:, None] == group[None, :]


def test_the_softmax_loss_of_distinct_captions_is_that_of_open_clip():
    pair = features()
    expected = ClipLoss()(*units(pair), SCALE.exp())
    torch.testing.assert_close(Clip().loss(Pairs(*pair, distinct(6)), SCALE), expected)


def test_the_sigmoid_loss_of_distinct_captions_is_that_of_open_clip():
    pair = features()
    expected = SigLipLoss()(*units(pair), SCALE.exp(), BIAS)
    torch.testing.assert_close(Siglip().loss(Pairs(*pair, distinct(6)), SCALE, BIAS), expected)


def test_equal_captions_share_their_probability():
    positives = equal(1, 2, 1)
    same = torch.tensor([[1.0, 0], [0, 1.0], [1.0, 0]])
    loss = Clip().loss(Pairs(same, same, positives), torch.tensor(math.log(100.0)))
    # Two rows choose between two, one is sure.
    torch.testing.assert_close(loss, torch.tensor(2 * math.log(2) / 3))


def test_smoothing_spreads_a_share_of_every_target_over_the_batch():
    images, texts = units(features())
    positives = torch.eye(6, dtype=torch.bool) | (torch.arange(6) < 2).outer(torch.arange(6) < 2)
    targets = 0.8 * positives / positives.sum(dim=1, keepdim=True) + 0.2 / 6
    logits = SCALE.exp() * images @ texts.T
    both_ways = [-(targets * side.log_softmax(dim=1)).sum(dim=1).mean() for side in (logits, logits.T)]
    found = Clip(label_smoothing=0.2).loss(Pairs(images, texts, positives), SCALE)
    torch.testing.assert_close(found, sum(both_ways) / 2)


def test_equal_captions_match_each_other_in_the_sigmoid_loss():
    same = torch.tensor([[1.0, 0], [-1.0, 0], [1.0, 0]])
    positives = equal(1, 2, 1)
    sure, bias = torch.tensor(math.log(50.0)), torch.tensor(0.0)
    assert Siglip().loss(Pairs(same, same, positives), sure, bias) < 1e-6
    assert Siglip().loss(Pairs(same, same, distinct(3)), sure, bias) > 10


def test_the_scale_is_clamped_to_100_in_the_softmax_loss_only():
    pairs = Pairs(*features(), distinct(6))
    at_the_limit, beyond = torch.tensor(math.log(100.0)), torch.tensor(math.log(5000.0))
    torch.testing.assert_close(Clip().loss(pairs, at_the_limit), Clip().loss(pairs, beyond))
    assert Siglip().loss(pairs, beyond, BIAS) > 2 * Siglip().loss(pairs, at_the_limit, BIAS)


@pytest.mark.parametrize("objective", [Clip(), Siglip(), Convirt(ConvirtConfig())])
def test_the_mean_loss_of_equal_slices_has_the_value_and_gradients_of_the_batch(objective: Contrastive):
    images, texts = features(8)
    positives = equal(1, 2, 1, 3, 4, 5, 2, 6)  # pairs across slices

    def gradients(slices: list[slice]) -> tuple[Tensor, ...]:
        leaves = [tensor.clone().requires_grad_() for tensor in (images, texts, SCALE, BIAS)]
        parts = [objective.loss(Pairs(*leaves[:2], positives, rows), *leaves[2:]) for rows in slices]
        loss = torch.stack(parts).mean()
        return loss, *torch.autograd.grad(loss, leaves, allow_unused=True)

    whole = gradients([slice(None)])
    in_two = gradients([slice(0, 4), slice(4, 8)])
    torch.testing.assert_close(in_two, whole)

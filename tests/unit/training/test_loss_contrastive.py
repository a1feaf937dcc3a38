"""The symmetric contrastive loss."""

import math

import torch
import torch.nn.functional as F

from diptych_training.loss import contrastive_loss, equal_rows

SCALE = torch.tensor(math.log(10.0))


def test_without_equal_captions_it_is_the_plain_symmetric_cross_entropy():
    images, texts = torch.randn(6, 4), torch.randn(6, 4)
    logits = 10 * F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T
    labels = torch.arange(6)
    expected = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    found = contrastive_loss(images, texts, SCALE, torch.eye(6, dtype=torch.bool))
    torch.testing.assert_close(found, expected)


def test_equal_captions_share_their_probability():
    input_ids = torch.tensor([[1, 2], [3, 4], [1, 2]])
    positives = equal_rows(input_ids)
    assert positives.tolist() == [[True, False, True], [False, True, False], [True, False, True]]
    features = torch.tensor([[1.0, 0], [0, 1.0], [1.0, 0]])
    sharp = torch.tensor(math.log(100.0))
    loss = contrastive_loss(features, features, sharp, positives)
    torch.testing.assert_close(
        loss, torch.tensor(2 * math.log(2) / 3)
    )  # two rows choose between two, one is sure


def test_the_scale_is_clamped_to_100():
    images, texts, positives = torch.randn(4, 3), torch.randn(4, 3), torch.eye(4, dtype=torch.bool)
    at_the_limit = contrastive_loss(images, texts, torch.tensor(math.log(100.0)), positives)
    beyond = contrastive_loss(images, texts, torch.tensor(math.log(5000.0)), positives)
    torch.testing.assert_close(at_the_limit, beyond)

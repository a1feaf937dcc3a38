"""The gate between photographs and drawings, fitted on drawings alone."""

import numpy as np
import pytest
import torch

from diptych_training.train.align.image_start import Classifier, fit_gate

N_FEATURES, N_CLASSES = 40, 12


@pytest.fixture
def classifier() -> Classifier:
    generator = torch.Generator().manual_seed(0)
    return Classifier(
        gain=torch.rand(N_FEATURES, generator=generator) + 0.5,
        bias=torch.randn(N_FEATURES, generator=generator),
        rows=torch.randn(N_CLASSES, N_FEATURES, generator=generator),
    )


def drawings(n: int, seed: int) -> np.ndarray:
    """Few features are active, strongly."""
    rng = np.random.default_rng(seed)
    return (rng.random((n, N_FEATURES)) < 0.1).astype(np.float32) * 3


def test_the_gate_separates_unseen_drawings_from_what_the_classifier_was_trained_on(classifier):
    weight, bias = fit_gate(drawings(400, seed=1), classifier)
    rng = np.random.default_rng(2)
    normal = rng.standard_normal((200, N_FEATURES), dtype=np.float32)
    photographs = np.clip(classifier.bias.numpy() + classifier.gain.numpy() * normal, 0, 6)

    def share_of_photographs(features: np.ndarray) -> float:
        return float((torch.from_numpy(features) @ weight.T + bias > 0).float().mean())

    assert share_of_photographs(photographs) > 0.9
    assert share_of_photographs(drawings(200, seed=3)) < 0.1


def test_the_gate_is_a_function_of_its_drawings(classifier):
    one, other = (fit_gate(drawings(100, seed=1), classifier) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))

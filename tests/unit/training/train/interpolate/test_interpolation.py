"""Weights between two models."""

import pytest
import torch

from diptych_training.errors import TrainingConfigError
from diptych_training.train.interpolate.interpolation import interpolate_weights

ORIGINAL = {"w": torch.tensor([0.0, 2.0]), "n": torch.tensor(3)}
TUNED = {"w": torch.tensor([4.0, 2.0]), "n": torch.tensor(7)}


def test_the_ends_are_the_two_models_and_between_them_is_a_line():
    assert torch.equal(interpolate_weights(ORIGINAL, TUNED, 0.0)["w"], ORIGINAL["w"])
    assert torch.equal(interpolate_weights(ORIGINAL, TUNED, 1.0)["w"], TUNED["w"])
    assert interpolate_weights(ORIGINAL, TUNED, 0.25)["w"].tolist() == [1.0, 2.0]
    assert interpolate_weights(ORIGINAL, TUNED, 0.25)["n"].item() == 7


def test_neither_model_is_changed():
    interpolate_weights(ORIGINAL, TUNED, 0.5)["n"].add_(1)
    assert (ORIGINAL["w"].tolist(), TUNED["n"].item()) == ([0.0, 2.0], 7)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_an_alpha_outside_the_line_is_refused(alpha):
    with pytest.raises(TrainingConfigError, match="must be from 0"):
        interpolate_weights(ORIGINAL, TUNED, alpha)


def test_models_of_two_architectures_are_refused_by_name():
    with pytest.raises(TrainingConfigError, match=r"w is \(1,\) in the original and \(2,\)"):
        interpolate_weights({"w": torch.zeros(1), "n": torch.tensor(1)}, TUNED, 0.5)
    with pytest.raises(TrainingConfigError, match="w is missing in the original"):
        interpolate_weights({"n": torch.tensor(1)}, TUNED, 0.5)

"""The moving average of the weights."""

import pytest
import torch
from torch import nn

from diptych_training.train.state import Ema


@pytest.mark.parametrize(("step", "kept"), [(0, 0.1), (5, 0.4), (1_000, 0.9)])
def test_early_steps_weigh_more_so_that_the_random_start_is_forgotten(step, kept):
    model = nn.Linear(1, 1)
    nn.init.ones_(model.weight)
    ema = Ema(model, decay=0.9)
    nn.init.zeros_(model.weight)
    ema.update(model, step, torch.tensor(True))
    assert ema.tensors()["weight"].item() == pytest.approx(kept)

"""Which items a step sees."""

import numpy as np
import pytest

from diptych_training.config import DataConfig
from diptych_training.data.sampler import MixtureSampler, SourceWeights, step_rng
from diptych_training.errors import TrainingConfigError

SOURCES = [
    SourceWeights("noto", "emoji", np.array([1.0, 1.0, 0.1])),
    SourceWeights("tabler", "icons", np.ones(5)),
    SourceWeights("lucide", "icons", np.ones(15)),
]


def shares(config: DataConfig) -> np.ndarray:
    drawn = MixtureSampler(SOURCES, config).sample(200_000, step_rng(0, 0))
    return np.bincount(drawn, minlength=23) / len(drawn)


def test_kinds_are_drawn_by_their_mixture_and_items_by_their_weight():
    found = shares(DataConfig(mixture={"emoji": 1.0, "icons": 3.0}))
    assert found[:3].sum() == pytest.approx(0.25, abs=0.01)
    assert found[2] == pytest.approx(found[0] / 10, abs=0.01)
    assert found[3:] == pytest.approx(np.full(20, 0.75 / 20), abs=0.003)


def test_a_source_weight_moves_the_share_inside_its_kind():
    found = shares(DataConfig(mixture={"emoji": 1.0, "icons": 1.0}, source_weights={"tabler": 3.0}))
    assert found[3:8].sum() == pytest.approx(found[8:].sum(), abs=0.01)


def test_a_step_draws_the_same_items_every_time_and_others_than_its_neighbour():
    sampler = MixtureSampler(SOURCES, DataConfig())
    assert np.array_equal(sampler.sample(50, step_rng(7, 3)), sampler.sample(50, step_rng(7, 3)))
    assert not np.array_equal(sampler.sample(50, step_rng(7, 3)), sampler.sample(50, step_rng(7, 4)))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (DataConfig(mixture={"photos": 1.0}), "data.mixture: photos not in the data"),
        (DataConfig(source_weights={"mdi": 1.0}), "data.source_weights: mdi not in the data"),
        (DataConfig(mixture={"emoji": 0.0}), "all weights are zero"),
        (DataConfig(source_weights={"noto": 0.0}), "data.mixture.emoji is 1.0, but"),
    ],
)
def test_a_mixture_that_the_data_cannot_give_is_refused(config, message):
    with pytest.raises(TrainingConfigError, match=message):
        MixtureSampler(SOURCES, config)

"""Random changes of training images."""

import pytest
import torch

from diptych_training.config import AugmentConfig
from diptych_training.data.augment import Augment

CHANGES = [
    "affine", "thickness", "outline", "blur", "grayscale", "hue", "color", "recolor", "invert", "shade",
    "cutout",
]  # fmt: skip
EVERYTHING = AugmentConfig(**{f"{name}_probability": 1.0 for name in CHANGES})


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawings(n: int = 8) -> torch.Tensor:
    """White with a dark, coloured square off the centre."""
    images = torch.ones(n, 3, 16, 16)
    images[:, :, 4:9, 5:12] = torch.tensor([0.8, 0.2, 0.1]).view(1, 3, 1, 1)
    return images


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_keeps_shape_and_range_and_does_something(name):
    changed = Augment(AugmentConfig(**{f"{name}_probability": 1.0}))(drawings(), seeded())
    assert changed.shape == drawings().shape
    assert changed.min() >= -1e-6
    assert changed.max() <= 1 + 1e-6
    assert not torch.equal(changed, drawings())


def test_the_same_generator_state_gives_the_same_images():
    change = Augment(EVERYTHING)
    assert torch.equal(change(drawings(), seeded(3)), change(drawings(), seeded(3)))
    assert not torch.equal(change(drawings(), seeded(3)), change(drawings(), seeded(4)))


def test_a_probability_is_the_share_of_images():
    changed = Augment(AugmentConfig(invert_probability=0.25))(drawings(400), seeded())
    share = (changed[:, 0, 0, 0] == 0).float().mean().item()
    assert share == pytest.approx(0.25, abs=0.06)


def test_what_comes_in_from_outside_is_white():
    config = AugmentConfig(
        affine_probability=1.0, scale=(0.5, 0.5), translate=0.0, rotate_deg=0.0, squeeze=0.0
    )
    changed = Augment(config)(torch.zeros(2, 3, 16, 16), seeded())
    assert torch.all(changed[:, :, :3] == 1)
    assert torch.all(changed[:, :, 7:9, 7:9] == 0)


def test_shading_lights_the_drawing_unevenly_and_darkens_the_ground_below_it():
    images = torch.ones(40, 3, 32, 32)
    images[:, :, 10:20, 8:24] = torch.tensor([0.5, 0.2, 0.1]).view(1, 3, 1, 1)
    shaded = Augment(AugmentConfig(shade_probability=1.0, shade=1.0))(images.clone(), seeded())
    drawn = shaded[:, :, 12:18, 10:22]
    assert (drawn.flatten(2).std(dim=2).mean(dim=1) > 0.02).float().mean() > 0.9
    below, above = shaded[:, :, 21:24, 12:20].mean(), shaded[:, :, :3].mean()
    assert below < above - 0.1

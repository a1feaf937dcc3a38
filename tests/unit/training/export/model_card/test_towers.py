"""Every kind of image tower has words on the model card."""

from typing import get_args

from diptych_training.export.model_card.card import CARDS, TOWERS
from diptych_training.models.config import ImageConfig


def test_every_kind_of_image_tower_is_named() -> None:
    union, *_ = get_args(ImageConfig)
    kinds = {kind.model_fields["kind"].default for kind in get_args(union)}
    assert kinds == set(TOWERS)
    assert set(CARDS) <= kinds

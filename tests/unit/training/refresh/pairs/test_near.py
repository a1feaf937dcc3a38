"""Near duplicates: of pictures that models are judged on, and among one's own."""

import numpy as np
import pytest

from diptych_training.refresh.pairs.near import near_groups, near_shipped, picture_rows
from support.own_pairs import write_shipped
from support.pictures import noise


def pictures(n, size=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [32, 36])
def test_pictures_of_one_chain_of_near_duplicates_are_one_group(size):
    images = pictures(300, size)
    images[299] = images[5] // 2 + 40
    images[280] = images[299] // 2 + 10
    groups = near_groups(picture_rows(images))
    assert [group for group in groups if len(group) > 1] == [[5, 280, 299]]
    assert sorted(index for group in groups for index in group) == list(range(300))


def test_pictures_of_one_colour_are_near_nothing():
    images = np.full((3, 32, 32, 3), 200, np.uint8)
    assert near_groups(picture_rows(images)) == [[0], [1], [2]]


def test_the_nearest_of_several_judged_pictures_is_named(tmp_path):
    shipped = write_shipped(tmp_path, {"star": noise(1), "moon": noise(2)})
    shown = shipped.sources("validation")[0].images
    images = np.stack([pictures(1)[0], shown[1] // 2, shown[0]])
    assert near_shipped(picture_rows(images), shipped) == {1: "moon", 2: "star"}


def test_no_pictures_are_near_nothing(tmp_path):
    rows = picture_rows(pictures(0))
    assert near_groups(rows) == []
    assert near_shipped(rows, write_shipped(tmp_path, {"star": noise(1)})) == {}

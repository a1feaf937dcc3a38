"""Pairs are held out by a hash of their names, with every caption on both sides where that is possible."""

import numpy as np
import pytest

from diptych_training.refresh.pairs.hold_out import N_FOLDS, choose_folds, choose_held_out, names_in_sources
from diptych_training.refresh.pairs.near import near_groups, near_shipped, picture_rows
from support.own_pairs import write_shipped
from support.pictures import noise


def held_out(captions, share=0.2, groups=None, names=None):
    """Positions of held-out pairs with these captions; each is a group of its own by default."""
    names = names or [f"photos:{number:04}.png" for number in range(len(captions))]
    return choose_held_out(names, captions, groups or [[index] for index in range(len(captions))], share)


def test_about_the_share_is_held_out():
    held = held_out([f"thing {n}" for n in range(1000)])
    assert 160 <= len(held) <= 240
    assert held == sorted(held)


def test_every_caption_of_several_pictures_is_on_both_sides():
    captions = [f"thing {n % 25}" for n in range(100)]
    held = held_out(captions)
    trained = [index for index in range(100) if index not in held]
    assert {captions[index] for index in held} == set(captions) == {captions[index] for index in trained}
    assert len(held) <= 40


@pytest.mark.parametrize("share", [0.01, 0.2, 0.9])
@pytest.mark.parametrize("n", [2, 20, 21])
def test_at_least_one_pair_is_on_each_side(n, share):
    assert 1 <= len(held_out([f"thing {number}" for number in range(n)], share)) < n


def test_a_pair_stays_on_its_side_when_others_are_added():
    few, more = (held_out([f"thing {n}" for n in range(count)]) for count in (200, 300))
    assert few == [index for index in more if index < 200]


def test_names_are_those_within_their_source():
    names = ["photos:a.png", "old:photos:b.png", "x/s.tar:0001", "photos:more:a.png"]
    prefixes = ["photos", "old", "x/s.tar", "photos:more"]
    assert names_in_sources(names, prefixes) == ["a.png", "photos:b.png", "0001", "a.png 1"]


def test_groups_stay_together():
    groups = [[index, index + 1, index + 2] for index in range(0, 90, 3)]
    held = set(held_out(["a", "b", "c"] * 30, groups=groups))
    assert held
    assert all(len(held & set(group)) in (0, 3) for group in groups)


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


def test_the_nearest_of_several_judged_pictures_is_named(tmp_path):
    shipped = write_shipped(tmp_path, {"star": noise(1), "moon": noise(2)})
    shown = shipped.sources("validation")[0].images
    images = np.stack([pictures(1)[0], shown[1] // 2, shown[0]])
    assert near_shipped(picture_rows(images), shipped) == {1: "moon", 2: "star"}


def folds(captions, groups=None):
    """The fold of each pair."""
    names = [f"{number:04}.png" for number in range(len(captions))]
    return choose_folds(names, captions, groups or [[index] for index in range(len(captions))])


@pytest.mark.parametrize("n_captions", [3, 5, 7, 60])
def test_folds_have_as_many_pictures_and_those_of_each_caption_are_in_all_of_them(n_captions):
    captions = [f"thing {n % n_captions}" for n in range(63)]

    found = folds(captions)

    sizes = [found.count(fold) for fold in range(1, N_FOLDS + 1)]
    assert max(sizes) - min(sizes) <= 2
    for caption in set(captions):
        of_caption = [fold for fold, one in zip(found, captions, strict=True) if one == caption]
        counts = [of_caption.count(fold) for fold in range(1, N_FOLDS + 1)]
        assert max(counts) - min(counts) <= 1


def test_near_duplicates_are_in_one_fold():
    groups = [[index, index + 10] for index in range(10)]

    found = folds(["a", "b"] * 10, groups)

    assert all(found[one] == found[other] for one, other in groups)
    assert len(set(found)) == N_FOLDS

"""Pairs are held out by a hash of their names, with every caption on both sides where that is possible."""

import pytest

from diptych_training.refresh.pairs.hold_out import choose_held_out, names_in_sources


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


def test_captions_of_two_pictures_do_not_take_half_of_all_pairs_and_never_lose_both():
    captions = [f"thing {n // 2}" for n in range(400)]
    held = held_out(captions)
    assert 50 <= len(held) <= 100
    assert len({captions[index] for index in held}) == len(held)


@pytest.mark.parametrize("share", [0.01, 0.2, 0.9])
@pytest.mark.parametrize("n", [2, 20, 21])
def test_at_least_one_pair_is_on_each_side(n, share):
    assert 1 <= len(held_out([f"thing {number}" for number in range(n)], share)) < n


def test_a_pair_stays_on_its_side_when_others_are_added():
    few, more = (held_out([f"thing {n}" for n in range(count)]) for count in (200, 300))
    assert few == [index for index in more if index < 200]


@pytest.mark.parametrize(("n_captions", "n_each", "n_held"), [(5, 4, 5), (5, 5, 5), (4, 10, 8), (1, 19, 4)])
def test_small_captions_hold_out_the_rounded_share(n_captions, n_each, n_held):
    for seed in range(20):
        names = [f"{seed} {number}" for number in range(n_captions * n_each)]
        captions = [f"thing {number % n_captions}" for number in range(len(names))]
        assert len(held_out(captions, names=names)) == n_held


def test_few_captions_of_one_picture_each_are_counted_together():
    for seed in range(20):
        assert len(held_out([f"{n}" for n in range(15)], names=[f"{seed} {n}" for n in range(15)])) == 3


def test_names_are_those_within_their_source():
    names = ["photos:a.png", "old:photos:b.png", "x/s.tar:0001", "photos:more:a.png"]
    prefixes = ["photos", "old", "x/s.tar", "photos:more"]
    assert names_in_sources(names, prefixes) == ["a.png", "photos:b.png", "0001", "a.png 1"]


def test_the_order_of_pairs_does_not_matter():
    names = [f"photos:{number}.png" for number in range(60)]
    captions = [f"thing {number % 12}" for number in range(60)]
    forward = {names[index] for index in held_out(captions, names=names)}
    backward = {names[::-1][index] for index in held_out(captions[::-1], names=names[::-1])}
    assert forward == backward


def test_groups_stay_together():
    groups = [[index, index + 1, index + 2] for index in range(0, 90, 3)]
    held = set(held_out(["a", "b", "c"] * 30, groups=groups))
    assert held
    assert all(len(held & set(group)) in (0, 3) for group in groups)


def test_a_group_larger_than_the_share_is_trained_on():
    groups = [list(range(50)), *([index] for index in range(50, 100))]
    for seed in range(20):
        names = [f"{seed} {number}" for number in range(100)]
        held = held_out([f"thing {n}" for n in range(100)], groups=groups, names=names)
        assert held
        assert min(held) >= 50


def test_nothing_is_held_out_of_a_single_group_or_with_a_share_of_zero():
    captions = [f"thing {n}" for n in range(20)]
    assert held_out(captions, groups=[list(range(20))]) == []
    assert held_out(captions, share=0) == []

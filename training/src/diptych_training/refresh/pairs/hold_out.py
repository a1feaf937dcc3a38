"""Choose the pairs that are held out of training, by a hash of their names."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from diptych_training.data.packed import hash_fraction

ROUNDS_TO_ONE = 0.5


@dataclass(frozen=True)
class _Group:
    """Near duplicates, which stay together. `fraction` is the hash of the first name."""

    members: tuple[int, ...]
    fraction: float
    may_be_held_out: bool


def choose_held_out(
    names: Sequence[str], captions: Sequence[Hashable], groups: Sequence[Sequence[int]], share: float
) -> list[int]:
    """The positions of held-out pairs, ascending; about `share` of all.

    A pair's side depends on its name, so that it stays there when others are added. A caption of several
    groups is on both sides, where its share comes to at least half a group. A group with more than `share`
    of all pairs is trained on. At least one pair is held out if `share` is positive and there are two
    groups, one of them small enough.
    """
    if share <= 0:
        return []
    room = max(1.0, share * len(names))
    held: set[_Group] = set()
    all_groups: list[_Group] = []
    of_caption: defaultdict[Hashable, list[_Group]] = defaultdict(list)
    for members in groups:
        first = min(members, key=lambda index: names[index])
        group = _Group(tuple(members), hash_fraction(names[first]), len(members) <= room)
        all_groups.append(group)
        of_caption[captions[first]].append(group)
    for alike in of_caption.values():
        held |= _held_out(alike, share, at_least_one=len(alike) * share >= ROUNDS_TO_ONE)
    if not held:
        held = _held_out(all_groups, share, at_least_one=True)
    if len(held) == len(all_groups):
        held.discard(max(held, key=lambda group: group.fraction))
    return sorted(index for group in held for index in group.members)


def _held_out(groups: Sequence[_Group], share: float, *, at_least_one: bool) -> set[_Group]:
    """The groups below `share`; of several, at least one is left, and one taken if `at_least_one`."""
    possible = sorted((one for one in groups if one.may_be_held_out), key=lambda one: one.fraction)
    held = [group for group in possible if group.fraction < share]
    if len(groups) > 1:
        if not held and at_least_one:
            held = possible[:1]
        if len(held) == len(groups):
            held.pop()
    return set(held)

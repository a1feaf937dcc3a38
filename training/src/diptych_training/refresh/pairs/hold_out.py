"""Choose the pairs that are held out of training, once or in folds, by a hash of their names."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from diptych_training.data.packed import hash_fraction

N_FOLDS = 5
ROUNDS_TO_ONE = 0.5
FEW_GROUPS = 20  # of fewer, the number below a hash is often far from the share


@dataclass(frozen=True)
class _Group:
    """Near duplicates, which stay together. `fraction` is the hash of the first name."""

    members: tuple[int, ...]
    fraction: float
    may_be_held_out: bool


def names_in_sources(names: Iterable[str], prefixes: Iterable[str]) -> list[str]:
    """Names without the prefixes of their sources, which change when a folder is renamed.

    A name that an earlier source has too gets a number, so that the pairs are not all hashed alike.
    """
    starts = sorted({f"{prefix}:" for prefix in prefixes}, key=len, reverse=True)
    n_before: Counter[str] = Counter()
    found = []
    for name in names:
        start = next((one for one in starts if name.startswith(one)), "")
        own = name[len(start) :]
        found.append(f"{own} {n_before[own]}" if n_before[own] else own)
        n_before[own] += 1
    return found


def choose_held_out(
    names: Sequence[str], captions: Sequence[Hashable], groups: Sequence[Sequence[int]], share: float
) -> list[int]:
    """The positions of held-out pairs, ascending; about `share` of all.

    A pair's side depends on its name, so that it stays there when others are added, but where its caption
    has fewer than FEW_GROUPS groups: of these the right number is held out, those with the smallest hashes.
    A caption is on both sides where its share comes to at least half a group; other captions are counted
    together. A group with more than `share` of all pairs is trained on. At least one pair is held out if
    `share` is positive and there are two groups, one of them small enough.
    """
    if share <= 0:
        return []
    room = max(1.0, share * len(names))
    all_groups: list[_Group] = []
    of_caption: defaultdict[Hashable, list[_Group]] = defaultdict(list)
    for members in groups:
        first = min(members, key=lambda index: names[index])
        group = _Group(tuple(members), hash_fraction(names[first]), len(members) <= room)
        all_groups.append(group)
        of_caption[captions[first]].append(group)
    held: set[_Group] = set()
    rare: list[list[_Group]] = []
    for alike in of_caption.values():
        if len(alike) > 1 and share * len(alike) >= ROUNDS_TO_ONE:
            held |= _held_out(_possible(alike), len(alike), share)
        else:
            rare.append(alike)
    held |= _held_out([group for alike in rare for group in _possible(alike)], sum(map(len, rare)), share)
    if not held:
        held = set(_possible(all_groups)[:1])
    if len(held) == len(all_groups):
        held.discard(max(held, key=lambda group: group.fraction))
    return sorted(index for group in held for index in group.members)


def choose_folds(
    names: Sequence[str], captions: Sequence[Hashable], groups: Sequence[Sequence[int]]
) -> list[int]:
    """The fold of each pair, from 1 to N_FOLDS: each fold has about as many pictures of each caption.

    The pairs of a group are in one fold. Which one depends on the hash of its first name.
    """
    of_caption: defaultdict[Hashable, list[Sequence[int]]] = defaultdict(list)
    for members in groups:
        of_caption[captions[min(members, key=lambda index: names[index])]].append(members)
    folds, sizes = [0] * len(names), Counter[int]()

    def order(members: Sequence[int]) -> tuple[int, float]:
        return -len(members), hash_fraction(min(names[index] for index in members))

    for alike in sorted(of_caption.values(), key=lambda some: (-len(some), order(some[0]))):
        in_caption = Counter[int]()
        for members in sorted(alike, key=order):
            fold = min(range(1, N_FOLDS + 1), key=lambda one: (in_caption[one], sizes[one], one))
            in_caption[fold] += len(members)
            sizes[fold] += len(members)
            for index in members:
                folds[index] = fold
    return folds


def _possible(groups: Sequence[_Group]) -> list[_Group]:
    """The groups that may be held out, by hash; of several, one is left to train on."""
    possible = sorted((one for one in groups if one.may_be_held_out), key=lambda one: one.fraction)
    return possible[:-1] if len(possible) == len(groups) > 1 else possible


def _held_out(possible: Sequence[_Group], n_groups: int, share: float) -> set[_Group]:
    """About `share` of `n_groups` groups, out of the possible ones."""
    by_hash = sorted(possible, key=lambda group: group.fraction)
    n_below = sum(group.fraction < share for group in by_hash)
    wanted = share * n_groups
    at_least = int(wanted >= ROUNDS_TO_ONE)
    return set(by_hash[: max(at_least, round(wanted) if n_groups < FEW_GROUPS else n_below)])

"""Find pictures that nearly equal pictures which models are judged on, or each other."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from PIL import Image

from diptych_training.data.colour_grid import GRID, Rows, colour_grids
from diptych_training.data.packed import Images, PackedDataset, PackedItem
from diptych_training.data.pairs.tools.duplicate_finder import BATCH, DEFAULT_THRESHOLD, SIDE_PX, highest
from diptych_training.refresh.pairs.findings import Finding, first_examples, quoted


def picture_rows(images: Images) -> Rows:
    """(N, S, S, 3) -> (N, F) cells of colour, as `data near-duplicates` compares them."""
    parts = [colour_grids(_divisible(images[at : at + BATCH])) for at in range(0, len(images), BATCH)]
    return np.concatenate(parts) if parts else np.zeros((0, GRID * GRID * 3), np.float32)


def near_shipped(rows: Rows, shipped: PackedDataset) -> dict[int, str]:
    """The positions of pictures near one of split `validation`, and the label of the nearest of these."""
    best = np.full(len(rows), DEFAULT_THRESHOLD, np.float32)
    label_of: dict[int, str] = {}
    for source in shipped.sources("validation"):
        others = picture_rows(source.images)
        for at in range(0, len(rows), BATCH):
            cosines, nearest = highest(rows[at : at + BATCH] @ others.T)
            for index in np.flatnonzero(cosines >= best[at : at + BATCH]):
                best[at + index] = cosines[index]
                label_of[int(at + index)] = source.items[nearest[index]].label
    return dict(sorted(label_of.items()))


def near_groups(rows: Rows) -> list[list[int]]:
    """All positions in groups: two pictures share a group if a chain of near duplicates joins them."""
    leader = list(range(len(rows)))

    def find(index: int) -> int:
        while leader[index] != index:
            leader[index] = leader[leader[index]]  # shortens the path for later
            index = leader[index]
        return index

    for one, other in _near_pairs(rows):
        first, last = sorted((find(one), find(other)))
        leader[last] = first
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for index in range(len(rows)):
        groups[find(index)].append(index)
    return list(groups.values())


def near_shipped_findings(near: Mapping[int, str], items: Sequence[PackedItem]) -> list[Finding]:
    """The finding on pictures that are left out, if there are any."""
    if not near:
        return []
    return [
        Finding(
            kind="near_judged",
            n=len(near),
            what="nearly equal to a picture that the model is judged on, left out",
            advice="Nothing to do: training on them would make the model look better than it is.",
            examples=first_examples(
                f"{items[index].id} like {quoted(label)}" for index, label in near.items()
            ),
        )
    ]


def near_own_findings(groups: Sequence[Sequence[int]], items: Sequence[PackedItem]) -> list[Finding]:
    """The finding on near duplicates among the pairs, if there are any; its examples are one group."""
    several = [group for group in groups if len(group) > 1]
    if not several:
        return []
    what = (
        f"nearly equal to another picture of yours; of {len(several):,} such groups, each is held out or "
        "trained on as a whole"
    )
    return [
        Finding(
            kind="near_own",
            n=sum(map(len, several)),
            what=what,
            advice="Nothing to do; pictures that differ more would teach more.",
            examples=first_examples(items[index].id for index in max(several, key=len)),
        )
    ]


def _near_pairs(rows: Rows) -> Iterator[tuple[int, int]]:
    for at in range(0, len(rows), BATCH):
        cosines = rows[at : at + BATCH] @ rows.T
        for one, other in np.argwhere(cosines >= DEFAULT_THRESHOLD):
            if at + one < other:
                yield int(at + one), int(other)


def _divisible(images: Images) -> Images:
    """The images, made SIDE_PX wide if their side is no multiple of GRID."""
    if images.shape[1] % GRID == 0:
        return images
    resized = (
        Image.fromarray(np.asarray(one)).resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX) for one in images
    )
    return np.stack([np.asarray(one) for one in resized])

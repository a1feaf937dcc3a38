"""Confusions: their selection, the nearest training images, and the picture."""

from dataclasses import replace

import numpy as np
import pytest

from diptych_training.data.packed import Kind, PackedDataset, PackedItem, PackedSource
from diptych_training.evaluate.confusions import (
    PER_KIND,
    Confusion,
    EmbeddedSource,
    select_varied,
    widest_margins,
)

CLASSES = ["home", "house", "star", "heart"]


def embedded_source(
    dataset: PackedDataset, cosines: list[list[float]], rights: list[set[str]]
) -> EmbeddedSource:
    """Images with these cosines to the four classes."""
    source = dataset.source("new-set")
    items = tuple(PackedItem(id=f"{n}", label=sorted(right)[0]) for n, right in enumerate(rights))
    shown = replace(source, images=source.images[: len(items)], items=items)
    rows = np.array(cosines, dtype=np.float32)
    return EmbeddedSource(
        shown, rows, CLASSES, np.eye(4, dtype=np.float32), [frozenset(right) for right in rights]
    )


def test_the_widest_margin_over_the_right_label_comes_first(dataset: PackedDataset) -> None:
    cosines = [[0.1, 0.5, 0.2, 0.0], [0.1, 0.0, 0.9, 0.2], [0.9, 0.1, 0.2, 0.3], [0.4, 0.0, 0.0, 0.5]]
    first, second = widest_margins(
        embedded_source(dataset, cosines, [{"home"}, {"home"}, {"home"}, {"home"}]), 10.0
    )
    assert [(one.index, one.right, one.given) for one in (first, second)] == [
        (1, "home", "star"),
        (0, "home", "house"),
    ]
    assert first.margin == pytest.approx(0.8)
    logits = 10.0 * np.array(cosines[1])
    assert first.probability == pytest.approx((np.exp(logits) / np.exp(logits).sum())[2], rel=1e-5)


def test_names_that_no_card_shows_give_way_to_the_next_margins(dataset: PackedDataset) -> None:
    cosines = [[0.1, 0.9, 0.0, 0.0], [0.1, 0.0, 0.5, 0.0]]
    source = embedded_source(dataset, cosines, [{"home"}, {"home"}])
    named = replace(source, classes=["home", "Penis alt", "star", "heart"])
    assert [one.given for one in widest_margins(named, 10.0)] == ["star"]


def confusion(
    dataset: PackedDataset, name: str, kind: Kind, margin: float, labels: str, nth: int = 0
) -> Confusion:
    source = dataset.source("new-set")
    entry = replace(source.entry, kind=kind)
    right, _, given = labels.partition(">")
    shown = PackedSource(name, entry, source.images, source.items)
    embedding = np.ones(4, dtype=np.float32)
    return Confusion(shown, 0, embedding, right, given, probability=0.5, margin=margin, rank=nth)


def test_sources_take_turns_and_no_pair_of_labels_is_shown_twice(
    dataset: PackedDataset,
) -> None:
    n = PER_KIND["emoji"]
    loud = [confusion(dataset, "loud", "emoji", 0.9, f"a>b{nth}", nth) for nth in range(2)]
    quiet = [confusion(dataset, f"style-{i}", "emoji", 0.1 * i / n, f"c{i}>d") for i in range(n - 1)]
    icons = [
        confusion(dataset, "set", "icons", 0.2, "a>b0"),
        confusion(dataset, "twin", "icons", 0.3, "a>b0"),
    ]
    chosen = select_varied([*loud, *quiet, *icons])
    names = [one.source.name for one in chosen["emoji"]]
    assert names == ["loud", *(f"style-{i}" for i in reversed(range(n - 1)))]
    assert [one.source.name for one in chosen["icons"]] == ["twin"]
    assert chosen == select_varied([*reversed(loud), *icons, *reversed(quiet)])

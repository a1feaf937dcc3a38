"""Draw a proof set from a packed data set of openly licensed drawings."""

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.parity import MIN_TEXTS
from diptych_training.data.packed import PackedDataset, PackedSource, SourceEntry, Split
from diptych_training.errors import DataError
from diptych_training.evaluate.proof_set.pictures import encode_lossless
from diptych_training.evaluate.proof_set.proof_set import (
    N_PROOF,
    N_REHEARSAL,
    PROOF,
    REHEARSAL,
    ProofSet,
    ProofSource,
)
from diptych_training.evaluate.proof_set.samples import even_shares
from diptych_training.provenance import is_open

NEEDED: dict[Split, int] = {PROOF: N_PROOF, REHEARSAL: N_REHEARSAL}


def why_not_drawn(dataset: PackedDataset) -> str | None:
    """Why no proof set is drawn from a user's data set; None if all of it is openly licensed drawings."""
    for name, entry in sorted(dataset.entries.items()):
        if entry.kind == "pairs":
            return f"{dataset.path} has pictures of your own ({name}), which are never shared"
        if not is_open(entry.licence):
            return f"{dataset.path}: the licence of {name} is {entry.licence or 'not recorded'}"
    return _too_few(dataset)


def draw_proof_set(dataset: PackedDataset) -> ProofSet:
    """1,000 pairs of the split `validation` and 200 of `train`: as many of each kind, and as many of each of
    its sources, as there are.

    Only openly licensed drawings are drawn, and always the same ones. Raises DataError if there are too few.
    """
    reason = _too_few(dataset)
    if reason is not None:
        raise DataError(f"no proof set can be drawn: {reason}")
    drawn = [_source(*one) for split in (PROOF, REHEARSAL) for one in _chosen(dataset, split)]
    return ProofSet(dataset.name, dataset.image_size, tuple(drawn))


def _too_few(dataset: PackedDataset) -> str | None:
    for split, needed in NEEDED.items():
        n = sum(entry.n for _, entry in _shareable(dataset, split))
        if n < needed:
            return f"{dataset.path} has {n:,} openly licensed drawings in {split}, {needed:,} are needed"
    labels = {source.items[index].label for source, chosen in _chosen(dataset, PROOF) for index in chosen}
    if len(labels) < MIN_TEXTS:
        return f"{dataset.path} has {len(labels)} labels in {PROOF}, at least {MIN_TEXTS} are needed"
    return None


def _shareable(dataset: PackedDataset, split: Split) -> list[tuple[str, SourceEntry]]:
    return [
        (name, entry)
        for name, entry in dataset.listed(split)
        if entry.kind != "pairs" and is_open(entry.licence)
    ]


def _chosen(dataset: PackedDataset, split: Split) -> list[tuple[PackedSource, NDArray[np.int64]]]:
    """Sources with the positions of the items that are drawn from each; always the same ones."""
    rng = np.random.default_rng(0)
    return [
        (dataset.source(name), np.sort(rng.choice(dataset.entries[name].n, count, replace=False)))
        for name, count in _counts(_shareable(dataset, split), NEEDED[split])
        if count
    ]


def _counts(listed: list[tuple[str, SourceEntry]], wanted: int) -> list[tuple[str, int]]:
    """How many to draw from each source. Few styles of emoji count as much as many icon sets: models are
    judged, and rehearse, by kind.
    """
    kinds = sorted({entry.kind for _, entry in listed})
    of_kind = [[(name, entry.n) for name, entry in listed if entry.kind == kind] for kind in kinds]
    shares = even_shares([sum(n for _, n in sources) for sources in of_kind], wanted)
    return [
        (name, count)
        for sources, share in zip(of_kind, shares, strict=True)
        for (name, _), count in zip(sources, even_shares([n for _, n in sources], share), strict=True)
    ]


def _source(source: PackedSource, chosen: NDArray[np.int64]) -> ProofSource:
    return ProofSource(
        name=source.name,
        split=source.split,
        kind=source.kind,
        licence=source.licence,
        author=source.author,
        items=tuple(source.items[index] for index in chosen),
        pictures=encode_lossless(source.images[chosen]),
    )

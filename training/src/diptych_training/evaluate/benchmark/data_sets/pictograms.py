"""The sources of a packed data set as data sets: each by itself, and pooled for probes."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from diptych_training.data.packed import Kind, PackedDataset, PackedSource
from diptych_training.evaluate.benchmark.data_sets.data_set import DataSet, Right, Split
from diptych_training.evaluate.benchmark.data_sets.known import Known, known
from diptych_training.evaluate.benchmark.data_sets.pictures import JoinedPictures, PixelPictures
from diptych_training.evaluate.ranking import accepted_labels
from diptych_training.evaluate.results import KINDS
from diptych_training.evaluate.validation import source_classes

POOLED = "pooled"
# Every fourth source of a pool is for validation, every fourth for the test: the shots come from the others.
PARTS = ("train", "train", "validation", "test")
MIN_SHOTS: dict[Kind, int] = {"emoji": 2, "icons": 8, "pairs": 8}


def packed_data_sets(dataset: PackedDataset, split: str) -> list[DataSet]:
    """One data set for each source of the split, then one pool for each kind that has enough sources."""
    found = []
    for kind in KINDS:
        sources = dataset.sources(split, kind)
        found += [_alone(source) for source in sources]
        pool = _pool(kind, sources)
        found += [] if pool is None else [pool]
    return found


def _alone(source: PackedSource) -> DataSet:
    classes = source_classes(source)
    column = {name: index for index, name in enumerate(classes)}
    return DataSet(
        name=source.name,
        group=source.kind,
        task="classification",
        metric="top1",
        texts=tuple(classes),
        templates=_known(source.kind).templates,
        test=Split(PixelPictures(source.images), _right(source, column)),
        retrieves=True,
    )


def _right(source: PackedSource, column: dict[str, int]) -> Right:
    """The own label first, then labels of the same pixels."""
    labels = [item.label for item in source.items]
    accepted = accepted_labels(source.images, labels)
    return tuple(
        tuple(column[name] for name in (label, *sorted(others - {label})) if name in column)
        for label, others in zip(labels, accepted, strict=True)
    )


def _pool(kind: Kind, sources: Sequence[PackedSource]) -> DataSet | None:
    """Labels that many sources draw, with pictures of different sources in each part.

    A probe learns them from some styles or sets and is tested on others. None if too few labels are shared.
    """
    parts: defaultdict[str, list[PackedSource]] = defaultdict(list)
    for number, source in enumerate(sources):
        parts[PARTS[number % len(PARTS)]].append(source)
    counts = {part: Counter(item.label for one in parts[part] for item in one.items) for part in PARTS}
    needed = {"train": MIN_SHOTS[kind], "validation": 1, "test": 1}
    classes = sorted(
        label
        for label in counts["train"]
        if all(counts[part][label] >= least for part, least in needed.items())
    )
    if len(classes) < 2:
        return None
    column = {name: index for index, name in enumerate(classes)}
    train, validation, test = (_part(parts[part], column) for part in ("train", "validation", "test"))
    return DataSet(
        name=f"{kind}-{POOLED}",
        group=POOLED,
        task="classification",
        metric="top1",
        texts=tuple(classes),
        templates=_known(kind).templates,
        test=test,
        train=train,
        validation=validation,
    )


def _part(sources: Sequence[PackedSource], column: dict[str, int]) -> Split:
    pictures, right = [], []
    for source in sources:
        chosen = [index for index, item in enumerate(source.items) if item.label in column]
        if chosen:
            pictures.append(PixelPictures(source.images, chosen))
            of_source = _right(source, column)
            right += [of_source[index] for index in chosen]
    return Split(JoinedPictures(tuple(pictures)), tuple(right))


def _known(kind: Kind) -> Known:
    return known(kind) or Known(title=kind, metric="top1")

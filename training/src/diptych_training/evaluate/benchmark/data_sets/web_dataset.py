"""Tar shards with labels, as CLIP_benchmark exports data sets: `test/0.tar`, `classnames.txt`, ...

Files of one picture share their name up to the first dot: the image, and `.cls` (the number of its class),
`.npy` (a row of 0 and 1, one for each class) or `.txt` (its captions, one a line).
"""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from diptych.tar import members
from diptych_training.data.pairs.remote.streams import ForwardReader
from diptych_training.data.pairs.sources.tar_shard import IMAGE_ENDINGS, pair_key
from diptych_training.errors import DataError
from diptych_training.evaluate.benchmark.data_sets.data_set import DataSet, Metric, Right, Split, Task
from diptych_training.evaluate.benchmark.data_sets.folder import split_folders
from diptych_training.evaluate.benchmark.data_sets.known import (
    TYPE_FILE,
    Known,
    names_by_number,
    read_lines,
    read_templates,
)
from diptych_training.evaluate.benchmark.data_sets.pictures import FilePictures, StoredFile
from diptych_training.files import open_regular

TASK_OF_ENDING: dict[str, Task] = {"cls": "classification", "npy": "multilabel", "txt": "retrieval"}
METRIC_OF_TASK: dict[Task, Metric] = {
    "classification": "top1", "multilabel": "mean_average_precision", "retrieval": "top1",
}  # fmt: skip


@dataclass
class _Sample:
    """Where the image of one sample is stored, and its labels by the ending of their file."""

    name: str
    image: StoredFile | None = None
    labels: dict[str, bytes] = field(default_factory=dict)


def is_web_dataset(folder: Path) -> bool:
    """Whether a folder, or one of its splits, has tar shards with labels."""
    return any(_shards(place) for place in (folder, *split_folders(folder).values()))


def web_data_set(folder: Path, name: str, facts: Known | None) -> DataSet:
    """Read where all images are, and their labels. DataError naming what does not fit."""
    places = {split: place for split, place in split_folders(folder).items() if _shards(place)}
    samples = {
        split: [sample for shard in _shards(place) for sample in _samples(shard)]
        for split, place in (places or {"test": folder}).items()
    }
    if not samples.get("test"):
        raise DataError(f"{folder} has no shards to test on")
    ending = _label_ending(folder, samples["test"])
    task = TASK_OF_ENDING[ending]
    texts, right_of = _texts(folder, [one for some in samples.values() for one in some], ending, facts)
    splits = {split: _split(some, right_of) for split, some in samples.items()}
    fits = facts is not None and task == "classification"
    return DataSet(
        name=name,
        group="folder" if facts is None else "paper",
        task=task,
        metric=facts.metric if facts is not None and (fits or task == "multilabel") else METRIC_OF_TASK[task],
        texts=texts,
        templates=() if task == "retrieval" else read_templates(folder, facts),
        test=splits["test"],
        train=splits.get("train"),
        validation=splits.get("validation"),
        retrieves=task == "retrieval",
        source=str(folder),
    )


def _shards(place: Path) -> list[Path]:
    """By number, if they are numbered."""

    def number(file: Path) -> tuple[int, str]:
        digits = re.search(r"\d+(?=\.tar$)", file.name)
        return int(digits[0]) if digits else -1, file.name

    return sorted(place.glob("*.tar"), key=number)


def _samples(shard: Path) -> Iterator[_Sample]:
    sample = _Sample("")
    with open_regular(shard) as file:
        read = ForwardReader(file)
        for member in members(read):
            key, ending = pair_key(member.name)
            if member.kind != "file" or (ending not in IMAGE_ENDINGS and ending not in TASK_OF_ENDING):
                continue
            if key != sample.name:
                if sample.image is not None:
                    yield sample
                sample = _Sample(key)
            if ending in IMAGE_ENDINGS:
                sample.image = StoredFile(shard, member.offset, member.n_bytes)
            else:
                sample.labels[ending] = read.exactly(member.offset, member.n_bytes)
    if sample.image is not None:
        yield sample


def _label_ending(folder: Path, samples: Sequence[_Sample]) -> str:
    """As the file of the type says, or else the first ending that all samples have."""
    stated = "".join(read_lines(folder / TYPE_FILE)).lower()
    wanted = [ending for ending, task in TASK_OF_ENDING.items() if not stated or task == stated]
    for ending in wanted:
        if all(ending in sample.labels for sample in samples):
            return ending
    lacking = next(one.name for one in samples if not wanted or wanted[-1] not in one.labels)
    endings = " or ".join(f".{one}" for one in wanted or TASK_OF_ENDING)
    raise DataError(f"{folder}: {lacking} has no label that ends with {endings}")


def _texts(
    folder: Path, samples: Sequence[_Sample], ending: str, facts: Known | None
) -> tuple[tuple[str, ...], Callable[[_Sample], tuple[int, ...]]]:
    """The texts of the data set, and a function from a sample to its right ones."""
    try:
        if ending == "txt":
            captions = [sample.labels[ending].decode().splitlines() for sample in samples]
            starts = np.cumsum([0, *map(len, captions)]).tolist()
            place = {id(sample): number for number, sample in enumerate(samples)}
            return (
                tuple(caption for some in captions for caption in some),
                lambda sample: tuple(range(starts[place[id(sample)]], starts[place[id(sample)] + 1])),
            )
        right = {id(sample): _numbers(sample.labels[ending], ending) for sample in samples}
    except (ValueError, KeyError) as error:
        raise DataError(f"{folder}: a label cannot be read: {error}") from error
    n_classes = 1 + max((number for numbers in right.values() for number in numbers), default=0)
    return names_by_number(folder, n_classes, facts), lambda sample: right[id(sample)]


def _numbers(label: bytes, ending: str) -> tuple[int, ...]:
    """The classes that a label names."""
    if ending == "cls":
        return (int(label),)
    row = np.load(io.BytesIO(label), allow_pickle=False)
    return tuple(int(index) for index in np.flatnonzero(row))


def _split(samples: Sequence[_Sample], right_of: Callable[[_Sample], tuple[int, ...]]) -> Split:
    files = [sample.image for sample in samples if sample.image is not None]
    right: Right = tuple(right_of(sample) for sample in samples)
    return Split(FilePictures(tuple(files)), right)

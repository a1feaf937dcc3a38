import re
from pathlib import Path

import numpy as np
import pytest

from diptych_training.data.packed import (
    INDEX_FILE,
    PackedDataset,
    PackedItem,
    SourceEntry,
    read_dataset,
    write_index,
    write_source,
)
from diptych_training.errors import DataError

ITEMS = [
    PackedItem("1f600", "grinning face", ("smile",), ("happy face",), 0.5),
    PackedItem("line", "line\u2028separator", near_train=True),
]
ENTRY = SourceEntry("eval", "emoji", 2, "MIT", "Somebody", "0" * 64, 0.25, {"blank": 3})


@pytest.fixture
def written(tmp_path: Path) -> Path:
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    write_source(tmp_path, "eval", "style", images, ITEMS)
    write_index(PackedDataset(tmp_path, "tiny", 4, {"style": ENTRY}))
    return tmp_path


def test_what_is_written_is_read_again(written: Path) -> None:
    dataset = read_dataset(written)
    (source,) = dataset.sources("eval", "emoji")
    assert (dataset.name, dataset.image_size) == ("tiny", 4)
    assert (source.name, source.entry, list(source.items)) == ("style", ENTRY, ITEMS)
    assert (source.split, source.kind, source.licence, source.author) == ("eval", "emoji", "MIT", "Somebody")
    assert source.pixel_1nn_top1 == 0.25
    assert isinstance(source.images, np.memmap)
    assert source.images[1, 3, 3, 2] == 95


def test_missing_data_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"dataset.json is missing; `diptych-train data pictograms` builds one"
    ):
        read_dataset(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "is not JSON"),
        ("[]", "schema_version None"),
        ('{"schema_version": 2}', "schema_version 2, this reader knows 1"),
        ('{"schema_version": 1, "name": "x", "image_size": 4}', "malformed: 'sources'"),
        ('{"schema_version": 1, "name": "x", "image_size": 4, "sources": {"s": {"colour": 1}}}', "colour"),
    ],
)
def test_index_that_cannot_be_trusted_is_refused(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / INDEX_FILE).write_text(content)
    with pytest.raises(DataError, match=complaint):
        read_dataset(tmp_path)


def save(file: Path, array: np.ndarray) -> None:
    np.save(file, array, allow_pickle=True)


DAMAGES = {
    "uint8 (2, 8, 8, 3)": lambda style: save(style.with_suffix(".npy"), np.zeros((2, 8, 8, 3), np.uint8)),
    "not a readable array": lambda style: save(style.with_suffix(".npy"), np.array([{}], dtype=object)),
    "style.npy is missing": lambda style: style.with_suffix(".npy").unlink(),
    "style.jsonl is missing": lambda style: style.with_suffix(".jsonl").unlink(),
    "style.jsonl is not UTF-8": lambda style: style.with_suffix(".jsonl").write_bytes(b'{"id": "\xff"}\n'),
    "line 1 is not an item": lambda style: style.with_suffix(".jsonl").write_text('{"id": "x"}\n'),
    "has 1 items, dataset.json says 2": lambda style: style.with_suffix(".jsonl").write_text(
        style.with_suffix(".jsonl").read_text().splitlines(keepends=True)[0]
    ),
}


@pytest.mark.parametrize("complaint", DAMAGES)
def test_damaged_source_is_refused(written: Path, complaint: str) -> None:
    DAMAGES[complaint](written / "eval" / "style")
    with pytest.raises(DataError, match=re.escape(complaint)):
        read_dataset(written).sources("eval")

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diptych_training.files import open_atomic
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


def test_sources_are_chosen_by_split_and_kind(written: Path) -> None:
    dataset = read_dataset(written)
    assert dataset.sources("train") == []
    assert dataset.sources("eval", "icons") == []
    with pytest.raises(DataError, match="split is 'test', not one of train, validation, eval"):
        dataset.sources("test")


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


def test_array_of_another_shape_is_refused(written: Path) -> None:
    np.save(written / "eval" / "style.npy", np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(DataError, match=r"style.npy holds uint8 \(2, 8, 8, 3\)"):
        read_dataset(written).sources("eval")


def test_items_that_are_not_utf_8_are_refused(written: Path) -> None:
    (written / "eval" / "style.jsonl").write_bytes(b'{"id": "\xff"}\n')
    with pytest.raises(DataError, match=r"style.jsonl is not UTF-8"):
        read_dataset(written).sources("eval")


def test_a_source_is_listed_without_its_files(written: Path) -> None:
    (written / "eval" / "style.npy").unlink()
    assert read_dataset(written).listed("eval") == [("style", ENTRY)]


def test_array_of_objects_is_never_unpickled(written: Path) -> None:
    np.save(written / "eval" / "style.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="not a readable array"):
        read_dataset(written).sources("eval")


@pytest.mark.parametrize("suffix", [".npy", ".jsonl"])
def test_missing_file_of_a_source_is_named(written: Path, suffix: str) -> None:
    (written / "eval" / f"style{suffix}").unlink()
    with pytest.raises(DataError, match=f"style{suffix} is missing"):
        read_dataset(written).sources("eval")


def test_items_that_do_not_fit_the_index_are_refused(written: Path) -> None:
    write_index(PackedDataset(written, "tiny", 4, {"style": replace(ENTRY, n=3)}))
    np.save(written / "eval" / "style.npy", np.zeros((3, 4, 4, 3), np.uint8))
    with pytest.raises(DataError, match=r"has 2 items, dataset.json says 3"):
        read_dataset(written).sources("eval")


def test_line_that_is_no_item_is_named(written: Path) -> None:
    file = written / "eval" / "style.jsonl"
    file.write_text(file.read_text() + json.dumps({"id": "x"}) + "\n")
    with pytest.raises(DataError, match="line 3 is not an item"):
        read_dataset(written).sources("eval")


def test_interrupted_write_leaves_the_former_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"former")
    with pytest.raises(KeyboardInterrupt), open_atomic(target) as file:
        file.write(b"half of the")
        raise KeyboardInterrupt
    assert target.read_bytes() == b"former"
    assert list(tmp_path.iterdir()) == [target]

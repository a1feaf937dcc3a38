"""The file of a proof set: what is written is read, and nothing else is."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from diptych_training.errors import DataError
from diptych_training.evaluate.proof_set.file import (
    PROOF_SET_FILE,
    read_proof_set,
    write_proof_set,
)
from support.tiny_proof_set import tiny_proof_set

Arrays = dict[str, NDArray[Any]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_proof_set(tmp_path / PROOF_SET_FILE, tiny_proof_set(texts=("a text",)))
    return tmp_path / PROOF_SET_FILE


def arrays_of(file: Path) -> Arrays:
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def index_of(arrays: Arrays) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(arrays["index"].tobytes())
    return found


def with_index(file: Path, **changed: Any) -> None:
    arrays = arrays_of(file)
    index = np.frombuffer(json.dumps(index_of(arrays) | changed).encode(), np.uint8)
    np.savez(file, **(arrays | {"index": index}))


def test_a_proof_set_is_read_as_it_was_written(file: Path) -> None:
    assert read_proof_set(file.parent) == tiny_proof_set(texts=("a text",))


@pytest.mark.parametrize("n_bytes", [0, 1, 100, -1, -100])
def test_a_file_that_is_cut_off_is_named(file: Path, n_bytes: int) -> None:
    file.write_bytes(file.read_bytes()[:n_bytes])

    with pytest.raises(DataError, match=rf"{PROOF_SET_FILE}: not a proof set: "):
        read_proof_set(file.parent)


def test_every_changed_byte_of_the_pictures_or_texts_is_noticed_or_harmless(file: Path) -> None:
    intact = file.read_bytes()
    for position in range(0, len(intact), 97):
        damaged = bytearray(intact)
        damaged[position] ^= 0x55
        file.write_bytes(damaged)
        try:
            assert read_proof_set(file.parent) == tiny_proof_set(texts=("a text",))
        except DataError as error:
            assert str(error).startswith(f"{file}: ")


def test_objects_are_never_unpickled(file: Path) -> None:
    np.savez(file, **(arrays_of(file) | {"index": np.array([{"a": 1}], dtype=object)}))

    with pytest.raises(DataError, match=r"index is object"):
        read_proof_set(file.parent)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format": 2}, "format is 2, this reader knows 1"),
        ({"image_size": 0}, "image_size is 0, it must be from 1 to 1024"),
        ({"image_size": 100_000}, "image_size is 100000"),
        ({"image_size": "16"}, "image_size is '16'"),
        ({"texts": "a text"}, "is not a list of texts"),
        ({"texts": [1]}, "1 is not a text"),
        ({"sources": []}, "9 pictures and 0 items"),
        ({"name": None}, "None is not a text"),
    ],
)
def test_an_index_that_states_something_else_is_refused(file: Path, changed: Any, message: str) -> None:
    with_index(file, **changed)

    with pytest.raises(DataError, match=message):
        read_proof_set(file.parent)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("name", "../out", "no plain name"),
        ("name", "other", "two sources have the same name"),
        ("split", "eval", "split 'eval'"),
        ("kind", "photos", "kind 'photos'"),
        ("items", [], "pictures and"),
        ("licence", 3, "3 is not a text"),
    ],
)
def test_a_source_that_could_not_be_unpacked_is_refused(
    file: Path, key: str, value: Any, message: str
) -> None:
    sources = index_of(arrays_of(file))["sources"]
    with_index(file, sources=[sources[0] | {key: value}, *sources[1:]])

    with pytest.raises(DataError, match=message):
        read_proof_set(file.parent)


def test_ends_that_do_not_match_the_pictures_are_refused(file: Path) -> None:
    arrays = arrays_of(file)
    np.savez(file, **(arrays | {"picture_ends": arrays["picture_ends"][::-1]}))

    with pytest.raises(DataError, match="picture_ends do not match picture_bytes"):
        read_proof_set(file.parent)


def test_an_array_that_would_unpack_to_too_many_bytes_is_not_unpacked(file: Path) -> None:
    arrays = arrays_of(file)
    np.savez_compressed(file, **(arrays | {"picture_bytes": np.zeros(65 * 2**20, np.uint8)}))

    with pytest.raises(DataError, match=r"picture_bytes has 68,157,\d+ bytes, limit is 67,108,864"):
        read_proof_set(file.parent)


def test_a_header_that_claims_more_than_its_bytes_is_refused(file: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**15,)})
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("index.npy", header.getvalue() + b"{}")

    with pytest.raises(DataError, match="index is uint8"):
        read_proof_set(file.parent)


def test_more_pictures_than_the_limit_are_refused(file: Path) -> None:
    n = 5_001
    ends = np.arange(1, n + 1, dtype=np.int64)
    np.savez(file, **(arrays_of(file) | {"picture_bytes": np.zeros(n, np.uint8), "picture_ends": ends}))

    with pytest.raises(DataError, match="5,001 pictures, limit is 5,000"):
        read_proof_set(file.parent)


def test_more_pixels_than_the_limit_are_refused(file: Path) -> None:
    n = 500
    ends = np.arange(1, n + 1, dtype=np.int64)
    np.savez(file, **(arrays_of(file) | {"picture_bytes": np.zeros(n, np.uint8), "picture_ends": ends}))
    with_index(file, image_size=1_024)

    with pytest.raises(DataError, match="500 pictures of 1024 px exceed 500,000,000 pixels"):
        read_proof_set(file.parent)

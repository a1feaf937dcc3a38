"""A proof set becomes an ordinary packed data set."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych_training.data.packed import read_dataset
from diptych_training.errors import DataError
from diptych_training.evaluate.proof_set.pictures import encode_lossless
from diptych_training.evaluate.proof_set.proof_set import ProofSet
from support.tiny_proof_set import SIZE, tiny_proof_set


def with_picture(proof_set: ProofSet, picture: bytes) -> ProofSet:
    first, *others = proof_set.sources
    changed = replace(first, pictures=(picture, *first.pictures[1:]))
    return replace(proof_set, sources=(changed, *others))


def picture_of(width: int, height: int, image_format: str = "WEBP") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(file, image_format)
    return file.getvalue()


def test_its_parts_are_the_splits_of_the_data_set(tmp_path: Path) -> None:
    proof_set = tiny_proof_set()

    dataset = proof_set.unpack(tmp_path / "data", SIZE)

    assert dataset == read_dataset(tmp_path / "data")
    assert dataset.name == "tiny-proof"
    assert {name: (entry.split, entry.n) for name, entry in dataset.entries.items()} == {
        "one": ("validation", 4), "other": ("validation", 3), "old": ("train", 2),
    }  # fmt: skip
    assert [source.items for source in dataset.sources("validation")] == [
        source.items for source in proof_set.sources if source.split == "validation"
    ]
    assert (proof_set.n_pictures("validation"), proof_set.n_pictures("train")) == (7, 2)


def test_drawings_keep_every_pixel(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = np.kron(rng.integers(0, 256, (4, 4, 4, 3), np.uint8), np.ones((1, 4, 4, 1), np.uint8))
    proof_set = tiny_proof_set()
    first, *others = proof_set.sources
    drawn = replace(first, pictures=encode_lossless(images))

    dataset = replace(proof_set, sources=(drawn, *others)).unpack(tmp_path, SIZE)

    assert np.array_equal(dataset.source("one").images, images)


def test_unpacking_after_an_interruption_or_a_change_replaces_what_is_there(tmp_path: Path) -> None:
    tiny_proof_set(has_rehearsal=False).unpack(tmp_path, SIZE)
    (tmp_path / "validation" / "one.npy").write_bytes(b"half")

    dataset = tiny_proof_set().unpack(tmp_path, SIZE)

    assert dataset.source("one").images.shape == (4, SIZE, SIZE, 3)
    assert dataset.source("old").split == "train"


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (b"RIFF....WEBPVP8 broken", "cannot be decoded"),
        (picture_of(SIZE, SIZE, "PNG"), "is not a WebP file"),
        (picture_of(SIZE, SIZE - 1), f"has {SIZE} x {SIZE - 1} pixels, it must have {SIZE} x {SIZE}"),
        (picture_of(4_000, 4_000), "limit is 256"),
    ],
)
def test_pictures_of_another_kind_are_refused(tmp_path: Path, picture: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        with_picture(tiny_proof_set(), picture).unpack(tmp_path, SIZE)

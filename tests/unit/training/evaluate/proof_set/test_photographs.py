"""The proof set of an import: variants of freely licensed photographs, at the model's size."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych_training.evaluate.proof_set.draw import draw_proof_set
from diptych_training.evaluate.proof_set.file import read_proof_set, write_proof_set
from diptych_training.evaluate.proof_set.photographs import proof_set_of_photographs, with_photographs
from diptych_training.evaluate.proof_set.photos import PhotoVariants, ordinary_texts, photographs
from diptych_training.evaluate.proof_set.samples import shortage
from support.tiny_run import tiny_image_spec, write_shareable_dataset

FREE = [photograph for photograph in photographs() if photograph.free]


def test_only_free_photographs_are_in_it_with_captions_licences_and_authors() -> None:
    proof_set = proof_set_of_photographs(tiny_image_spec(), 20, ordinary_texts())

    assert proof_set.n_pictures("validation") == 20
    assert not proof_set.has_rehearsal
    found = {
        source.name: (source.licence, source.author, source.items[0].label) for source in proof_set.sources
    }
    assert found == {one.path.stem: (one.licence, one.author, one.captions[0]) for one in FREE}
    assert proof_set.sources[0].items[0].captions == FREE[0].captions[1:]


def test_a_thousand_variants_can_prove_an_export(tmp_path: Path) -> None:
    spec = tiny_image_spec()
    proof_set = proof_set_of_photographs(spec, 1_000, ordinary_texts())
    write_proof_set(tmp_path / "proof_set.npz", proof_set)

    assert read_proof_set(tmp_path) == proof_set
    dataset = proof_set.unpack(tmp_path / "data", spec.size)
    assert shortage(dataset) is None
    images = np.concatenate([source.images for source in dataset.sources("validation")])
    assert len(np.unique(images.reshape(1_000, -1), axis=0)) > 950  # textures are alike at 32 pixels


def test_a_model_of_photographs_and_drawings_is_proven_on_both(tmp_path: Path) -> None:
    drawings = draw_proof_set(write_shareable_dataset(tmp_path / "drawings"))
    both = with_photographs(drawings, tiny_image_spec().model_copy(update={"size": 64}))
    assert {split: both.n_pictures(split) for split in ("validation", "train")} == {
        "validation": drawings.n_pictures("validation") + 200,
        "train": drawings.n_pictures("train") + 60,
    }
    write_proof_set(tmp_path / "proof_set.npz", both)
    unpacked = read_proof_set(tmp_path)
    assert unpacked is not None
    unpacked_set = unpacked.unpack(tmp_path / "unpacked", 64)
    small, large = (
        one.source(drawings.sources[0].name).images[0]
        for one in (drawings.unpack(tmp_path / "small", 32), unpacked_set)
    )
    np.testing.assert_array_equal(large[::2, ::2], small)  # each pixel is a block of four
    np.testing.assert_array_equal(large[1::2, 1::2], small)


def test_rehearsed_photographs_are_other_variants_than_those_of_the_proof(tmp_path: Path) -> None:
    drawings = draw_proof_set(write_shareable_dataset(tmp_path / "drawings"))
    both = with_photographs(drawings, tiny_image_spec())
    of_split = {
        split: {p for one in both.sources if one.split == split and one.kind == "pairs" for p in one.pictures}
        for split in ("validation", "train")
    }
    assert of_split["validation"].isdisjoint(of_split["train"])


N = 300


@pytest.fixture(scope="module")
def variants() -> list[Image.Image]:
    photos = PhotoVariants(photographs(), seed=0)
    return [photos[index] for index in range(N)]


def test_every_photograph_is_on_disk_and_has_captions() -> None:
    listed = photographs()

    assert len(listed) >= 20
    assert all(photograph.path.is_file() and len(photograph.captions) >= 3 for photograph in listed)
    assert sum(photograph.free for photograph in listed) >= 8


def test_variant_n_is_always_the_same_image(variants: list[Image.Image]) -> None:
    again = PhotoVariants(photographs(), seed=0)

    assert all(np.array_equal(again[index], variants[index]) for index in (0, 57, 299))

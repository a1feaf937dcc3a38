"""The proof set of an import: variants of freely licensed photographs, at the model's size."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych_training.data.photographs.listed import ListedPhotograph, listed_photographs
from diptych_training.errors import DataError
from diptych_training.evaluate.proof_set.draw import draw_proof_set
from diptych_training.evaluate.proof_set.file import read_proof_set, write_proof_set
from diptych_training.evaluate.proof_set.photographs import (
    crop,
    proof_set_of_photographs,
    with_photographs,
)
from diptych_training.evaluate.proof_set.photos import (
    PhotoVariants,
    ordinary_texts,
    photographs,
    shared_photographs,
)
from diptych_training.evaluate.proof_set.samples import shortage
from support.tiny_run import tiny_image_spec, write_shareable_dataset

N_PHOTOGRAPHS = {"validation": 67, "train": 17}


@pytest.fixture
def _open_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise of its own for each listed photograph, since Debian's packages are not here."""

    def read(listed: ListedPhotograph, folder: Path) -> bytes:
        assert listed.is_shared
        noise = np.random.default_rng(list(listed.sha256.encode())).integers(0, 256, (48, 64, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(noise).save(file, "PNG")
        return file.getvalue()

    monkeypatch.setattr("diptych_training.evaluate.proof_set.photographs.read_photograph", read)


def test_only_free_photographs_are_in_it_with_captions_licences_and_authors() -> None:
    proof_set = proof_set_of_photographs(tiny_image_spec(), 20, ordinary_texts())

    assert proof_set.n_pictures("validation") == 20
    assert not proof_set.has_rehearsal
    found = {
        source.name: (source.licence, source.author, source.items[0].label) for source in proof_set.sources
    }
    shared = [one for one in listed_photographs("proof") if one.is_installed and one.licence]
    assert found == {one.title: (one.licence, one.author, one.name) for one in shared}
    assert proof_set.sources[0].items[0].captions == shared_photographs()[0].captions[1:]


def test_a_thousand_variants_can_prove_an_export(tmp_path: Path) -> None:
    spec = tiny_image_spec()
    proof_set = proof_set_of_photographs(spec, 1_000, ordinary_texts())
    write_proof_set(tmp_path / "proof_set.npz", proof_set)

    assert read_proof_set(tmp_path) == proof_set
    dataset = proof_set.unpack(tmp_path / "data", spec.size)
    assert shortage(dataset) is None
    images = np.concatenate([source.images for source in dataset.sources("validation")])
    assert len(np.unique(images.reshape(1_000, -1), axis=0)) > 950  # textures are alike at 32 pixels


@pytest.mark.usefixtures("_open_photographs")
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


@pytest.mark.usefixtures("_open_photographs")
def test_photographs_are_rehearsed_or_of_the_proof_as_the_list_says(tmp_path: Path) -> None:
    both = with_photographs(draw_proof_set(write_shareable_dataset(tmp_path / "drawings")), tiny_image_spec())
    for split, listed in (("validation", "proof"), ("train", "rehearsal")):
        sources = [one for one in both.sources if one.split == split and one.kind == "pairs"]
        assert {(one.name, one.items[0].label, one.licence, one.author) for one in sources} == {
            (one.title, one.name, one.licence, one.author)
            for one in listed_photographs(listed)
            if one.licence
        }
        assert both.n_photographs(split) == len(sources) == N_PHOTOGRAPHS[split]
        assert all(len(set(one.pictures)) == len(one.pictures) >= 2 for one in sources)


def test_the_first_crop_is_the_whole_photograph_and_others_keep_most_of_it() -> None:
    image = Image.new("RGB", (200, 100))
    sizes = [crop(image, 3, number).size for number in range(20)]
    assert sizes[0] == image.size
    assert all(120 <= width <= 200 and 60 <= height <= 100 for width, height in sizes)
    assert len(set(sizes)) > 10


def test_a_missing_photograph_names_the_command_that_fetches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path))
    drawings = draw_proof_set(write_shareable_dataset(tmp_path / "drawings"))
    with pytest.raises(DataError, match="missing: `diptych-train data proof-photographs` writes it"):
        with_photographs(drawings, tiny_image_spec())


N = 300


@pytest.fixture(scope="module")
def variants() -> list[Image.Image]:
    photos = PhotoVariants(photographs(), seed=0)
    return [photos[index] for index in range(N)]


def test_every_photograph_is_on_disk_and_has_captions() -> None:
    listed = photographs()

    assert len(listed) >= 20
    assert all(photograph.path.is_file() and len(photograph.captions) >= 3 for photograph in listed)
    assert len(shared_photographs()) >= 8


def test_an_import_is_calibrated_on_other_photographs_than_it_is_proven_on() -> None:
    proof, rehearsal = photographs("proof"), photographs("rehearsal")
    assert set(proof).isdisjoint(rehearsal)
    assert set(proof) | set(rehearsal) == set(photographs())
    assert min(len(proof), len(rehearsal)) >= 8


def test_variant_n_is_always_the_same_image(variants: list[Image.Image]) -> None:
    again = PhotoVariants(photographs(), seed=0)

    assert all(np.array_equal(again[index], variants[index]) for index in (0, 57, 299))

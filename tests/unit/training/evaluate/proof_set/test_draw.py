"""Drawing a proof set from a data set: held-out, openly licensed drawings only."""

from dataclasses import replace
from pathlib import Path

import pytest

from diptych.bundle.repository import ModelRepository
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import DataError
from diptych_training.evaluate.proof_set.draw import draw_proof_set, why_not_drawn
from diptych_training.evaluate.proof_set.file import (
    PROOF_SET_FILE,
    default_proof_set_file,
    proof_set_to_evaluate,
    write_proof_set,
)
from support.default_model import DEFAULT_MODEL
from support.tiny_proof_set import tiny_proof_set
from support.tiny_run import write_shareable_dataset, write_tiny_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    return write_shareable_dataset(tmp_path_factory.mktemp("data"))


def changed(dataset: PackedDataset, name: str, **facts: str) -> PackedDataset:
    entry = replace(dataset.entries[name], **facts)  # type: ignore[arg-type]  of any facts
    return replace(dataset, entries={**dataset.entries, name: entry})


def test_a_thousand_are_held_out_and_two_hundred_others_are_rehearsed(dataset: PackedDataset) -> None:
    proof_set = draw_proof_set(dataset)

    assert (proof_set.n_pictures("validation"), proof_set.n_pictures("train")) == (1_000, 200)
    assert {source.name: len(source.items) for source in proof_set.sources} == {
        "choice-set": 990, "choice-style": 10, "train-set": 200,
    }  # fmt: skip
    assert {(source.licence, source.author) for source in proof_set.sources} == {("MIT", "nobody")}


def test_the_same_data_set_gives_the_same_file(dataset: PackedDataset, tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        write_proof_set(tmp_path / name, draw_proof_set(dataset))

    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("licence", ["unknown", "", "CC-BY-NC-4.0", "all rights reserved"])
def test_art_that_may_not_be_shared_is_not_drawn(dataset: PackedDataset, licence: str) -> None:
    partly = changed(dataset, "choice-style", licence=licence)

    assert why_not_drawn(partly) is not None
    assert "choice-style" not in {source.name for source in draw_proof_set(partly).sources}


def test_pictures_of_the_user_are_never_drawn(dataset: PackedDataset) -> None:
    mixed = changed(dataset, "choice-style", kind="pairs")

    assert "never shared" in str(why_not_drawn(mixed))
    assert "choice-style" not in {source.name for source in draw_proof_set(mixed).sources}


def test_too_few_drawings_are_counted_and_eval_is_not_touched(tmp_path: Path) -> None:
    few = write_tiny_dataset(tmp_path)  # 540 in validation, as many in eval

    assert "540 openly licensed drawings in validation, 1,000 are needed" in str(why_not_drawn(few))
    with pytest.raises(DataError, match=r"no proof set can be drawn: .* has 540 openly licensed drawings"):
        draw_proof_set(few)


@pytest.fixture
def repository(tmp_path: Path) -> ModelRepository:
    """Versions 1 to 3 of the default model, of which 2 has a proof set."""
    for version in (1, 2, 3):
        folder = tmp_path / "repo" / DEFAULT_MODEL / str(version)
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
    write_proof_set(
        tmp_path / "repo" / DEFAULT_MODEL / "2" / PROOF_SET_FILE, tiny_proof_set(texts=("default",))
    )
    return ModelRepository(tmp_path / "repo")


def test_the_newest_default_version_with_one_is_found(repository: ModelRepository, tmp_path: Path) -> None:
    assert default_proof_set_file(repository) == tmp_path / "repo" / DEFAULT_MODEL / "2" / PROOF_SET_FILE
    assert default_proof_set_file(ModelRepository(tmp_path / "none")) is None


def test_a_bundle_is_judged_on_its_own(repository: ModelRepository, tmp_path: Path) -> None:
    write_proof_set(tmp_path / PROOF_SET_FILE, tiny_proof_set(texts=("own",)))

    assert proof_set_to_evaluate(repository, tmp_path) == tiny_proof_set(texts=("own",))


def test_an_import_is_judged_on_that_of_the_default_model(
    repository: ModelRepository, tmp_path: Path
) -> None:
    write_proof_set(tmp_path / PROOF_SET_FILE, tiny_proof_set(has_rehearsal=False))

    assert proof_set_to_evaluate(repository, tmp_path) == tiny_proof_set(texts=("default",))
    assert proof_set_to_evaluate(repository, tmp_path / "none") == tiny_proof_set(texts=("default",))
    assert proof_set_to_evaluate(ModelRepository(tmp_path / "none"), tmp_path) is None

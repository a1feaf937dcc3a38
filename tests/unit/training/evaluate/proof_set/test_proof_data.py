"""What an export is proven and calibrated on, and which proof set its bundle carries."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from diptych.bundle.repository import ModelRepository
from diptych_training.checkpoint import TrainedRun, load_run
from diptych_training.config.start import ImageStartConfig
from diptych_training.data.packed import PackedDataset, write_index
from diptych_training.errors import DataError
from diptych_training.evaluate.proof_set.file import read_proof_set_file, write_proof_set
from diptych_training.evaluate.proof_set.proof_data import ProofData, choose_proof_data, require_drawable
from diptych_training.evaluate.proof_set.proof_set import ProofSet
from diptych_training.provenance import Provenance
from diptych_training.run_folder import RunFolder
from support.default_model import DEFAULT_MODEL
from support.tiny_proof_set import tiny_proof_set
from support.tiny_run import (
    IMAGE_SIZE,
    TINY_PAIR,
    TINY_RESNET,
    write_shareable_dataset,
    write_tiny_dataset,
    write_tiny_run,
)

OF_START, OF_DEFAULT = tiny_proof_set(texts=("start",)), tiny_proof_set(texts=("default",))


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    return write_shareable_dataset(tmp_path_factory.mktemp("drawings"))


@pytest.fixture
def pairs(tmp_path: Path) -> PackedDataset:
    """The user's own pictures."""
    dataset = write_tiny_dataset(tmp_path / "pairs", n_icons=3)
    entries = {name: replace(entry, kind="pairs") for name, entry in dataset.entries.items()}
    write_index(replace(dataset, entries=entries))
    return replace(dataset, entries=entries)


@pytest.fixture
def run(tmp_path: Path, pairs: PackedDataset) -> TrainedRun:
    """A run on the user's own pictures that started from `other/2`."""
    run = load_run(write_tiny_run(tmp_path / "runs" / "mine"))
    learned = Provenance(own=pairs, pairs={}, rehearsed={}, started_from={"other/2": "MIT"})
    return replace(run, provenance=learned)


def publish(tmp_path: Path, name: str, version: int, proof_set: ProofSet) -> None:
    folder = tmp_path / "repo" / name / str(version)
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    write_proof_set(folder / "proof_set.npz", proof_set)


def chosen(tmp_path: Path, run: TrainedRun, given: Path | None = None) -> ProofData:
    return choose_proof_data(run, given, ModelRepository(tmp_path / "repo"), tmp_path / "scratch")


def carried(data: ProofData) -> ProofSet:
    assert data.proof_set is not None
    return read_proof_set_file(data.proof_set)


def keep_copy(run: TrainedRun, proof_set: ProofSet) -> None:
    write_proof_set(RunFolder(run.folder).proof_set_file, proof_set)


def test_the_proof_set_of_the_start_proves_calibrates_and_is_handed_on(
    tmp_path: Path, run: TrainedRun
) -> None:
    publish(tmp_path, DEFAULT_MODEL, 1, OF_DEFAULT)
    keep_copy(run, OF_START)

    data = chosen(tmp_path, run)

    assert data.dataset.name == "tiny-proof"
    assert data.dataset.image_size == IMAGE_SIZE
    assert data.calibration == data.dataset
    assert data.proof_set == RunFolder(run.folder).proof_set_file


def test_the_proof_set_of_a_version_that_gave_its_image_tower_only_is_not_handed_on(
    tmp_path: Path, run: TrainedRun, drawings: PackedDataset
) -> None:
    publish(tmp_path, "other", 2, OF_START)
    assert carried(chosen(tmp_path, run, drawings.path)) == OF_START

    with_tower = run.config.model_copy(
        update={"start_image": ImageStartConfig(source="x", drawings="other/2")}
    )
    data = chosen(tmp_path, replace(run, config=with_tower), drawings.path)
    assert carried(data).name == "tiny-drawings"


def test_missing_photographs_are_named_before_a_model_of_them_is_trained(
    tmp_path: Path, drawings: PackedDataset, pairs: PackedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path))
    with pytest.raises(DataError, match="`diptych-train data proof-photographs` writes it"):
        require_drawable(TINY_PAIR, drawings)
    require_drawable(TINY_PAIR, pairs)  # no proof set is drawn from pictures of one's own
    require_drawable(TINY_RESNET, drawings)


def test_a_data_set_that_is_given_proves_and_the_starts_set_is_still_handed_on(
    tmp_path: Path, run: TrainedRun, drawings: PackedDataset
) -> None:
    keep_copy(run, OF_START)

    data = chosen(tmp_path, run, drawings.path)

    assert data.dataset == data.calibration == drawings
    assert carried(data) == OF_START


def test_open_drawings_give_a_set_of_their_own(
    tmp_path: Path, run: TrainedRun, drawings: PackedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, DEFAULT_MODEL, 1, OF_DEFAULT)
    monkeypatch.setenv("DIPTYCH_DATA", str(drawings.path))

    data = chosen(tmp_path, run)

    assert data.dataset == drawings
    assert carried(data).name == "tiny-drawings"
    assert carried(data).n_pictures("validation") == 1_000


def test_pictures_of_the_user_never_go_in_and_the_default_models_set_does(
    tmp_path: Path, run: TrainedRun, pairs: PackedDataset
) -> None:
    publish(tmp_path, DEFAULT_MODEL, 1, OF_DEFAULT)

    data = chosen(tmp_path, run, pairs.path)

    assert data.dataset == pairs
    assert carried(data) == OF_DEFAULT


def test_a_set_of_photographs_is_calibrated_on_the_runs_own_pictures(
    tmp_path: Path, run: TrainedRun, pairs: PackedDataset
) -> None:
    publish(tmp_path, DEFAULT_MODEL, 1, OF_DEFAULT)
    keep_copy(run, tiny_proof_set(has_rehearsal=False))

    assert chosen(tmp_path, run).calibration == pairs

    shutil.rmtree(pairs.path)
    assert [name for name, _ in chosen(tmp_path, run).calibration.listed("train")] == ["old"]

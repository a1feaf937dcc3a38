"""`diptych-train calibrate` on tiny bundles with a proof set of real size."""

from pathlib import Path

import numpy as np
import pytest

from diptych.bundle.calibration import calibration_file, read_calibration
from diptych.bundle.manifest import bundle_digest
from diptych.bundle.repository import ModelRepository
from diptych_training.cli import main
from diptych_training.data.packed import PackedItem
from diptych_training.evaluate.proof_set.file import PROOF_SET_FILE, write_proof_set
from diptych_training.evaluate.proof_set.pictures import encode_lossless
from diptych_training.evaluate.proof_set.proof_set import ProofSet, ProofSource
from support.tiny_bundle import TINY, write_changed_bundle, write_tiny_bundle
from support.tiny_graphs import COLOURS

SIZE = 32


def coloured_pictures() -> ProofSet:
    """Pictures of noisy colours, labelled by their colour and by a number that two of them share."""
    rng = np.random.default_rng(0)
    names = list(COLOURS)
    colours = rng.integers(0, 255, (160, 1, 1, 3))
    noise = rng.integers(-20, 20, (160, SIZE, SIZE, 3))
    images = np.clip(colours + noise, 0, 255).astype(np.uint8)
    items = tuple(PackedItem(f"one/{i}", f"{names[i // 2 % len(names)]} {i // 2}") for i in range(160))
    source = ProofSource("one", "validation", "icons", "MIT", "somebody", items, encode_lossless(images))
    return ProofSet("colours", SIZE, (source,))


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    def add(folder: Path) -> None:
        write_proof_set(folder / PROOF_SET_FILE, coloured_pictures())

    write_changed_bundle(tmp_path / "repo", tmp_path / "scratch", add)
    return tmp_path / "repo"


def test_calibrating_writes_a_file_beside_the_version(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository = ModelRepository(repo)
    folder = repository.folder(TINY, 1)
    before = bundle_digest(folder)
    assert main(["calibrate", TINY, "--model-repo", str(repo)]) == 0
    said = capsys.readouterr().out
    assert str(calibration_file(folder)) in said
    assert "by words 80 queries" in said
    found = read_calibration(calibration_file(folder), repository.manifest(TINY, 1))
    assert set(found.maps) == {"text", "image"}
    assert found.bank.shape == (160, 16)
    assert bundle_digest(folder) == before
    assert repository.verify(TINY, 1)


def test_a_calibration_disturbs_no_reader_of_the_repository(repo: Path) -> None:
    assert main(["calibrate", f"{TINY}/1", "--model-repo", str(repo)]) == 0
    repository = ModelRepository(repo)
    assert repository.versions(TINY) == [1]
    assert repository.strangers(TINY) == {}
    assert repository.strange_names() == {}
    assert write_tiny_bundle(repo, seed=1) == 2


def test_a_version_without_any_proof_set_says_what_it_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_bundle(tmp_path)
    assert main(["calibrate", TINY, "--model-repo", str(tmp_path)]) == 1
    assert "tiny/1 has no proof set to calibrate with" in capsys.readouterr().err

"""`diptych-train calibrate` on tiny bundles with a proof set of real size."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diptych.bundle.calibration import RelevanceMap, calibration_file, read_calibration
from diptych.bundle.manifest import bundle_digest
from diptych.bundle.repository import ModelRepository
from diptych_training.cli import main
from diptych_training.data.packed import PackedItem
from diptych_training.evaluate.calibrate.calibrate import calibrate_version
from diptych_training.evaluate.proof_set.file import PROOF_SET_FILE, write_proof_set
from diptych_training.evaluate.proof_set.pictures import encode_lossless
from diptych_training.evaluate.proof_set.proof_set import ProofSet, ProofSource
from support.own_pairs import write_shipped
from support.pictures import noise
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


def test_own_pairs_are_searched_too_and_an_earlier_calibration_is_measured_on_the_same(repo: Path) -> None:
    repository = ModelRepository(repo)
    plain = calibrate_version(repository, TINY, 1).calibration
    labels = [form.format(n) for n in range(20) for form in ("a thing {}", "The thing {}!", "thing {}")]
    own = write_shipped(repo.parent / "own", {label: noise(n) for n, label in enumerate(labels)})
    certain = [
        replace(plain, maps=dict.fromkeys(plain.maps, RelevanceMap(floor=floor, width=0, slope=1, growth=0)))
        for floor in (-100, 100)  # every hit is relevant, and none
    ]

    every, none = (calibrate_version(repository, TINY, 1, own.path, one) for one in certain)

    maps = every.calibration.maps
    assert maps["text"].n_queries - plain.maps["text"].n_queries == 20
    assert np.array_equal(every.calibration.bank, plain.bank)
    for kind in ("text", "image"):
        assert 0 < none.earlier_errors[kind] < 1
        assert every.earlier_errors[kind] + none.earlier_errors[kind] == pytest.approx(1)
    written = read_calibration(every.file, repository.manifest(TINY, 1))
    assert dict(written.maps) == dict(maps)


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

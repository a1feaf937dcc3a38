"""The calibration of a version: of the file in the model repository, or of the copy."""

import logging
from pathlib import Path

import pytest

from diptych.adapters.files.calibration_reader import CalibrationReader
from diptych.bundle.calibration import calibrated_identity
from diptych.bundle.manifest import Manifest
from diptych.bundle.repository import ModelRepository
from support.calibrations import write_tiny_calibration
from support.tiny_bundle import TINY, write_tiny_bundle

RELEVANT = "search hits of tiny/1 have a relevance for text queries"
OF_COPY = "the calibration of tiny/1 is read from its copy in the data folder: "


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    write_tiny_bundle(tmp_path)
    write_tiny_bundle(tmp_path, seed=1)
    return tmp_path


@pytest.fixture
def manifest(repo: Path) -> Manifest:
    return ModelRepository(repo).manifest(TINY, 1)


def test_the_copy_counts_while_the_first_file_is_missing_or_of_other_vectors(
    repo: Path, manifest: Manifest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first = write_tiny_calibration(repo, 1)
    copy = first.replace(repo / "copy")
    read = CalibrationReader(first, copy, manifest)

    def identity_and_log() -> tuple[str | None, list[str]]:
        caplog.clear()
        found = [read() for _ in range(2)][-1]
        return None if found is None else found.identity, caplog.messages

    good = calibrated_identity(manifest)
    assert identity_and_log() == (good, [f"{OF_COPY}the model repository has none", RELEVANT])
    write_tiny_calibration(repo, 2).replace(first)
    identity, (line,) = identity_and_log()
    assert (identity, line.startswith(f"{OF_COPY}tiny/1.calibration.npz: made for other vectors")) == (
        good,
        True,
    )
    copy.unlink()
    identity, (line,) = identity_and_log()
    reason = "search hits of tiny/1 have no relevance: tiny/1.calibration.npz: made for other vectors"
    assert (identity, line.startswith(reason)) == (None, True)


def test_a_copy_that_is_made_or_replaced_is_not_logged_again(
    repo: Path, manifest: Manifest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    file, copy = write_tiny_calibration(repo, 1, kinds=("text", "image")), repo / "copy"
    read = CalibrationReader(file, copy, manifest)
    read()
    copy.write_bytes(file.read_bytes())
    read()
    assert caplog.messages == ["search hits of tiny/1 have a relevance for image and text queries"]

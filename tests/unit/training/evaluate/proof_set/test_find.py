"""Which proof set judges a bundle."""

from pathlib import Path

import pytest

from diptych.bundle.repository import ModelRepository
from diptych_training.evaluate.proof_set.file import (
    PROOF_SET_FILE,
    default_proof_set_file,
    proof_set_to_evaluate,
    write_proof_set,
)
from support.default_model import DEFAULT_MODEL
from support.tiny_proof_set import tiny_proof_set


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

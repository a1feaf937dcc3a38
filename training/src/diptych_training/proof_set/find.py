"""Find the proof set of a bundle, or the default bundle's in place of it."""

from pathlib import Path

from diptych.bundle.repository import SHIPPED_NAME, ModelRepository
from diptych.errors import NotFound
from diptych_training.proof_set.file import PROOF_SET_FILE, read_proof_set, read_proof_set_file
from diptych_training.proof_set.proof_set import ProofSet


def proof_set_file(folder: Path) -> Path | None:
    """The file of a bundle or run; None if it has none."""
    file = folder / PROOF_SET_FILE
    return file if file.is_file() else None


def default_proof_set_file(repository: ModelRepository) -> Path | None:
    """The file of the newest version of the default model that has one; None if there is none."""
    try:
        versions = repository.versions(SHIPPED_NAME)
    except NotFound:
        return None
    folders = (repository.folder(SHIPPED_NAME, version) for version in reversed(versions))
    return next((file for folder in folders if (file := proof_set_file(folder)) is not None), None)


def judged_proof_set(repository: ModelRepository, folder: Path) -> ProofSet | None:
    """The proof set to judge and to rehearse a bundle or run on: its own, if that has a rehearsal part.

    Else the default model's, as for imports, whose own set is only for parity. None if the repository has
    none. Raises DataError naming a file that is damaged.
    """
    own = read_proof_set(folder)
    if own is not None and own.has_rehearsal:
        return own
    file = default_proof_set_file(repository)
    return None if file is None else read_proof_set_file(file)

"""Publish a version again as the next one, with a proof set and otherwise the same files."""

import hashlib
import shutil
from pathlib import Path

from diptych.bundle.manifest import MANIFEST_FILE, ManifestDraft
from diptych.bundle.repository import ModelRepository
from diptych_training.data.packed import read_dataset
from diptych_training.errors import ExportError
from diptych_training.evaluate.proof_set.draw import draw_proof_set
from diptych_training.evaluate.proof_set.file import PROOF_SET_FILE, write_proof_set

MADE_FROM = "made_from"  # key of the manifest's `extra`: the version whose vectors are the same


def add_proof_set(repository: ModelRepository, name: str, version: int, data: Path) -> int:
    """Publish the version's files byte for byte, with a proof set drawn from `data`; return its number.

    `extra.made_from` names the version and the sha256 of its manifest. Raises NotFound, CorruptBundle,
    ExportError if it has a proof set, and DataError if `data` has too few openly licensed drawings.
    """
    manifest, folder = repository.verify(name, version), repository.folder(name, version)
    title = f"{name}/{version}"
    if PROOF_SET_FILE in manifest.files:
        raise ExportError(f"{title} has a proof set already")
    proof_set = draw_proof_set(read_dataset(data))
    digest = hashlib.sha256((folder / MANIFEST_FILE).read_bytes()).hexdigest()
    with repository.staging(name) as staged:
        for file in manifest.files:
            shutil.copyfile(folder / file, staged / file)
        write_proof_set(staged / PROOF_SET_FILE, proof_set)
        kept = {key: getattr(manifest, key) for key in ManifestDraft.model_fields}
        made_from = {"version": title, "manifest_sha256": digest}
        draft = ManifestDraft(**{**kept, "extra": {**manifest.extra, MADE_FROM: made_from}})
        return repository.publish(name, staged, draft)

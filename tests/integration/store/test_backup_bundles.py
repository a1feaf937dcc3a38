"""The model versions that a data folder keeps are in its backups, and in what is restored of them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from diptych.adapters.files.kept_bundles import KeptBundles
from diptych.bundle.manifest import bundle_digest
from diptych.bundle.repository import ModelRepository
from diptych.errors import CorruptStore
from integration.backup_parts import back_up, flip, restored, verify
from integration.data_folders import add, contents
from support.fixtures import model_repo_fixture
from support.tiny_bundle import TINY

PETS = {"cat": b"cat", "dog": b"a dog"}

model_repo = model_repo_fixture({}, {"seed": 1})


def keep(data_dir: Path, model_repo: Path, *versions: int) -> list[str]:
    """Keep versions in the data folder, as a server does; return the sha256 of their manifests."""
    kept, digests = KeptBundles(data_dir / "models"), []
    for version in versions:
        folder = ModelRepository(model_repo).folder(TINY, version)
        digests.append(bundle_digest(folder))
        if kept.folder(digests[-1]) is None:
            kept.add(digests[-1], folder)
    kept.retain(digests)
    return digests


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in (folder / "models").rglob("*")
        if path.is_file()
    }


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    add(tmp_path / "data", PETS)
    return tmp_path / "data"


def test_kept_versions_are_copied_and_restored(model_repo: Path, data_dir: Path, tmp_path: Path) -> None:
    digests = keep(data_dir, model_repo, 1, 2)
    backup = tmp_path / "backup"
    record = back_up(data_dir, backup)
    assert sorted(record.bundles) == sorted(digests)
    assert files(backup) == files(data_dir) != {}
    assert {path.stat().st_nlink for path in (backup / "models").rglob("*") if path.is_file()} == {1}
    assert {oct(path.stat().st_mode & 0o077) for path in backup.rglob("*")} == {"0o0"}
    assert verify(backup) == record
    shutil.rmtree(data_dir)
    restored(backup, data_dir)
    assert files(data_dir) == files(backup)
    assert contents(data_dir) == PETS


def test_next_backup_has_only_what_is_kept_then(model_repo: Path, data_dir: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    assert back_up(data_dir, backup).bundles == ()
    keep(data_dir, model_repo, 1)
    back_up(data_dir, backup)
    (second,) = keep(data_dir, model_repo, 2)
    assert back_up(data_dir, backup).bundles == (second,)
    assert files(backup) == files(data_dir)
    keep(data_dir, model_repo)
    assert back_up(data_dir, backup).bundles == ()
    assert files(backup) == {}


@pytest.mark.parametrize("damage", [flip, Path.unlink])
def test_damaged_version_is_named_and_can_be_left_out(
    model_repo: Path, data_dir: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    first, second = keep(data_dir, model_repo, 1, 2)
    backup, target = tmp_path / "backup", tmp_path / "restored"
    back_up(data_dir, backup)
    damage(backup / "models" / first[:16] / "tokenizer.json")
    message = rf"the model version {first[:16]} of the backup is bad: .*--without-damaged"
    with pytest.raises(CorruptStore, match=message):
        verify(backup)
    with pytest.raises(CorruptStore, match=message):
        restored(backup, target)
    restored(backup, target, without_damaged=True)
    assert KeptBundles(target / "models").bundles() == [second]
    assert contents(target) == PETS


def test_damaged_version_of_a_backup_is_mended_by_the_next_one(
    model_repo: Path, data_dir: Path, tmp_path: Path
) -> None:
    (first,) = keep(data_dir, model_repo, 1)
    backup = tmp_path / "backup"
    back_up(data_dir, backup)
    shutil.rmtree(backup / "models" / first[:16])
    back_up(data_dir, backup)
    assert files(backup) == files(data_dir)

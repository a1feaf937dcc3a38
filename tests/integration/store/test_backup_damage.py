"""What a data folder or its backup has lost or has damaged is found, named, and mended by the other."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from diptych.adapters.backup import create, folder
from diptych.adapters.backup.folder import RECORD_FILE
from diptych.adapters.sqlite.store import DATABASE
from diptych.core.backup import LostImage
from diptych.core.collections.ids import sha256_of
from diptych.errors import CorruptStore, StoreError
from integration.backup_parts import PETS, Silent, back_up, flip, image, images, restored, truncate, verify
from integration.data_folders import COLLECTION, add, contents


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "backup"


@pytest.mark.parametrize("fault", ["missing", "damaged"])
def test_file_that_the_data_folder_has_lost_is_said_and_the_rest_is_saved(
    data_dir: Path, target: Path, fault: str
) -> None:
    if fault == "missing":
        image(data_dir, b"cat").unlink()
    else:
        image(data_dir, b"cat").write_bytes(b"bat")
    done = back_up(data_dir, target)
    assert done.lost == {sha256_of(b"cat"): fault}
    assert not image(target, b"cat").exists()
    assert verify(target).lost == done.lost
    add(data_dir, {"cat": b"cat"})
    assert back_up(data_dir, target).lost == {}


def test_file_that_the_data_folder_lost_since_is_kept_from_the_backup_before(
    data_dir: Path, target: Path
) -> None:
    back_up(data_dir, target)
    image(data_dir, b"cat").unlink()
    assert back_up(data_dir, target).lost == {}
    assert image(target, b"cat").read_bytes() == b"cat"


@pytest.mark.parametrize("damage", [truncate, Path.unlink], ids=["cut", "gone"])
def test_file_that_is_cut_or_gone_in_the_backup_is_copied_anew_by_repeating_it(
    data_dir: Path, target: Path, damage: Callable[[Path], None]
) -> None:
    back_up(data_dir, target)
    kept = images(target)[sha256_of(b"a dog")]
    damage(image(target, b"cat"))
    done = back_up(data_dir, target)
    assert done.lost == {}
    assert images(target)[sha256_of(b"a dog")] == kept
    assert verify(target) == done


def test_flipped_bit_in_the_backup_is_found_by_verifying_it_and_mended_as_that_says(
    data_dir: Path, target: Path
) -> None:
    back_up(data_dir, target)
    flip(image(target, b"cat"))
    assert back_up(data_dir, target).lost == {}  # reads nothing that is there
    with pytest.raises(
        CorruptStore, match=r"1 of 2 .* bad: .*; remove the damaged files and repeat `diptych backup`"
    ):
        verify(target)
    image(target, b"cat").unlink()
    assert back_up(data_dir, target) == verify(target)


def test_images_that_the_data_folder_has_lost_are_named_by_id(data_dir: Path, target: Path) -> None:
    image(data_dir, b"cat").unlink()
    done = create.back_up(data_dir, target, Silent())
    cat = sha256_of(b"cat")
    assert done.lost_images == (
        LostImage(COLLECTION, "again", cat, "missing"),
        LostImage(COLLECTION, "cat", cat, "missing"),
    )
    assert folder.verify(target, Silent()).lost_images == done.lost_images


def test_damaged_database_of_the_backup_is_copied_anew_by_repeating_it(data_dir: Path, target: Path) -> None:
    first = back_up(data_dir, target)
    flip(target / first.database.name)
    second = back_up(data_dir, target)
    assert second.database == first.database
    assert verify(target) == second


def test_damaged_record_is_said_with_the_way_out_and_that_leads_to_a_backup(
    data_dir: Path, target: Path
) -> None:
    back_up(data_dir, target)
    kept = images(target)
    (target / RECORD_FILE).write_bytes(b"{")
    with pytest.raises(CorruptStore, match=r"backup.json is not a record of a backup: remove it"):
        back_up(data_dir, target)
    (target / RECORD_FILE).unlink()
    assert back_up(data_dir, target) == verify(target)
    assert images(target) == kept


def test_damaged_page_is_noticed_and_the_earlier_backup_stays(data_dir: Path, target: Path) -> None:
    add(data_dir, {f"i{n}": f"image {n}".encode() for n in range(300)})
    first = back_up(data_dir, target)
    with (data_dir / DATABASE).open("r+b") as file:
        file.seek(-4096 * 2, os.SEEK_END)
        file.write(b"\xff" * 4096)
    with pytest.raises(CorruptStore, match="is damaged"):
        back_up(data_dir, target)
    assert verify(target) == first


def test_verify_finds_a_flipped_bit_a_missing_file_and_a_changed_database(
    data_dir: Path, target: Path
) -> None:
    done = back_up(data_dir, target)
    flip(image(target, b"cat"))
    image(target, b"a dog").unlink()
    with pytest.raises(CorruptStore, match="2 of 2 image files of the backup are bad") as bad:
        verify(target)
    assert f"{sha256_of(b'cat')} is damaged (pets/again, pets/cat)" in str(bad.value)
    assert f"{sha256_of(b'a dog')} is missing (pets/dog)" in str(bad.value)
    flip(target / done.database.name)
    with pytest.raises(CorruptStore, match=rf"{done.database.name} is damaged: its sha256 is"):
        verify(target)
    (target / done.database.name).unlink()
    with pytest.raises(CorruptStore, match=rf"{done.database.name} cannot be read: No such file"):
        verify(target)


def test_record_that_is_cut_short_or_of_a_newer_format_is_refused(data_dir: Path, target: Path) -> None:
    back_up(data_dir, target)
    record = json.loads((target / RECORD_FILE).read_text())
    (target / RECORD_FILE).write_text(json.dumps(record)[:-20])
    with pytest.raises(CorruptStore, match="is not a record of a backup"):
        verify(target)
    (target / RECORD_FILE).write_text(json.dumps(record | {"format": 2}))
    with pytest.raises(StoreError, match="has backup format 2, this version of diptych knows up to 1"):
        verify(target)


def test_backup_of_an_earlier_version_is_verified_restored_and_repeated(
    data_dir: Path, target: Path, tmp_path: Path
) -> None:
    """Whose record names images that were damaged inside of the database, too."""
    back_up(data_dir, target)
    said = json.loads((target / RECORD_FILE).read_text())
    said["backup"]["damaged"] = [{"collection": COLLECTION, "id": "dog", "what": "row"}]
    (target / RECORD_FILE).write_text(json.dumps(said))
    kept = images(target)
    verify(target)
    restored(target, tmp_path / "restored")
    assert contents(tmp_path / "restored") == PETS
    assert back_up(data_dir, target).counts.n_images == 3
    assert images(target) == kept

"""Libraries on real disks: mounted read-only, and mounted within the folder and away for a while."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from diptych.core.libraries import service
from durability.small_disk import NEEDS_ROOT, read_only, small_disk
from support.app import running_app
from support.library_folder import Folder
from support.pictures import picture

pytestmark = NEEDS_ROOT


@contextmanager
def opened(root: Path, tmp_path: Path) -> Iterator[Folder]:
    with running_app(tmp_path, libraries=(f"photos={root}",)) as client:
        yield Folder(root, client)


def test_folder_that_is_mounted_read_only_is_scanned_and_served(tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    Folder.write_old(root / "2024" / "red.png", picture("red"))
    with read_only(root):
        with pytest.raises(OSError, match="Read-only"):
            (root / "new.png").write_bytes(b"1")
        with opened(root, tmp_path) as folder:
            assert folder.scanned()["state"] == "idle"
            image = folder.images()["2024/red.png"]
            assert folder.client.get(image["links"]["original"]).content == picture("red")
            assert folder.client.get(image["links"]["thumbnail"]).status_code == 200
            assert folder.hits() == {image["id"]}


def test_disk_within_the_folder_that_is_away_is_named_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "LOOK_EVERY_S", 0.05)
    root = tmp_path / "pictures"
    Folder.write_old(root / "red.png", picture("red"))
    usb = root / "usb"
    usb.mkdir()
    with small_disk(tmp_path / "disk", 1) as disk, opened(root, tmp_path) as folder:
        Folder.write_old(disk.folder / "blue.png", picture("blue"))
        with mounted(disk.folder, usb):
            folder.scanned()
            hits = folder.hits()
            assert len(hits) == 2
            image = folder.images()["usb/blue.png"]
        folder.write("new.png", picture("green"))
        found = folder.until(lambda one: one["n_files"] == 3 and one["n_problems"] == 1)
        (problem,) = found["problems"]
        assert problem["path"] == "usb"
        assert problem["reason"].startswith("the disk that was here is away: what it had (files: 1) is left")
        assert (found["state"], found["n_missing"]) == ("idle", 0)
        assert hits < folder.hits()
        for _ in range(2):
            answer = folder.client.get(image["links"]["original"])
            assert (answer.status_code, answer.json()["type"]) == (503, "urn:diptych:error:library-away")
            folder.write("usb/blue.png", picture("green") + b"\0")  # a file of that name on another disk
        (usb / "blue.png").unlink()
        with mounted(disk.folder, usb):
            folder.until(lambda one: one["n_problems"] == 0)
            assert folder.client.get(image["links"]["original"]).content == picture("blue")
        assert folder.scanned()["n_missing"] == 1  # who asks for a scan says that the disk is gone
        assert image["id"] not in folder.hits()


@contextmanager
def mounted(disk: Path, folder: Path) -> Iterator[None]:
    """Mount a disk in a folder for the block."""
    subprocess.run(["mount", "--bind", str(disk), str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)

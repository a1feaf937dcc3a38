"""The folder of a library: what is listed and read, and that nothing outside of it ever is."""

import asyncio
import errno
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diptych.adapters.files.library_folder import MAX_DEPTH, MAX_IGNORE_BYTES, FolderOfLibrary
from diptych.core.libraries.ports import Content, Listing, Unreadable
from diptych.errors import LibraryAway
from support.other_user import as_nobody_in_particular

SECRET = b"what is outside"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.jpg").write_bytes(SECRET)
    root = tmp_path / "root"
    root.mkdir()
    return root


def folder_of(root: Path, max_bytes: int = 1_000) -> FolderOfLibrary:
    return FolderOfLibrary("photos", root, max_bytes)


def listed(root: Path) -> Listing:
    return asyncio.run(folder_of(root).listing())


def read(root: Path, path: bytes, max_bytes: int = 1_000) -> Content | Unreadable:
    return asyncio.run(folder_of(root, max_bytes).read(path))


def reason(root: Path, path: bytes, max_bytes: int = 1_000) -> str:
    found = read(root, path, max_bytes)
    assert isinstance(found, Unreadable), found
    return found.reason


def test_pictures_are_listed_by_their_endings_without_hidden_names(root: Path) -> None:
    for path in ("a.JPG", "2024/b.heic", "2024/.c.jpg", ".trash/d.jpg", "@eaDir/e.jpg", "notes.txt"):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes(b"12345")
    found = listed(root)
    assert sorted(found.files) == [b"2024/b.heic", b"a.JPG"]
    assert found.files[b"a.JPG"].n_bytes == 5
    assert found.files[b"a.JPG"].modified_ns == (root / "a.JPG").stat().st_mtime_ns
    assert (found.unread, found.left_out) == ({}, {})


def test_sidecars_are_listed_apart_and_links_to_some_are_named(root: Path) -> None:
    (root / "a.jpg").write_bytes(b"1")
    (root / "a.jpg.XMP").write_bytes(b"123")
    (root / "a.xmp").symlink_to("a.jpg.XMP")
    os.mkfifo(root / "b.xmp")
    found = listed(root)
    assert (list(found.files), list(found.sidecars)) == ([b"a.jpg"], [b"a.jpg.XMP"])
    assert found.sidecars[b"a.jpg.XMP"].n_bytes == 3
    assert sorted(found.left_out) == [b"a.xmp", b"b.xmp"]


def test_patterns_of_the_ignore_file_leave_out_names_and_paths(root: Path) -> None:
    (root / ".diptychignore").write_text("# exports\n\n  # 2023\nthumb_*\nexports/\n2024/raw/*\n/top/\n")
    left_out = ("thumb_1.jpg", "exports/a.jpg", "2024/raw/b.jpg", "top/e.jpg")
    for path in (*left_out, "2024/c.jpg", "2024/top/f.jpg", "raw/d.jpg"):
        (root / path).parent.mkdir(exist_ok=True, parents=True)
        (root / path).write_bytes(b"1")
    assert sorted(listed(root).files) == [b"2024/c.jpg", b"2024/top/f.jpg", b"raw/d.jpg"]


def test_ignore_file_that_cannot_be_read_makes_the_library_wait(root: Path) -> None:
    ignore = root / ".diptychignore"
    ignore.write_bytes(b"#" * MAX_IGNORE_BYTES)
    with pytest.raises(LibraryAway, match="cannot be read: has 65536 bytes, limit is 1000"):
        asyncio.run(folder_of(root).listing())
    assert asyncio.run(folder_of(root, 10**6).listing()).files == {}
    ignore.write_bytes(b"#" * (MAX_IGNORE_BYTES + 1))
    with pytest.raises(LibraryAway, match="cannot be read: has 65537 bytes, limit is 65536"):
        asyncio.run(folder_of(root, 10**6).listing())
    ignore.unlink()
    ignore.symlink_to(root.parent / "outside" / "secret.jpg")
    with pytest.raises(LibraryAway, match="cannot be read: is no regular file"):
        listed(root)


def test_a_file_is_read_with_what_shows_its_state(root: Path) -> None:
    (root / "a").mkdir()
    (root / "a" / "b.jpg").write_bytes(b"picture")
    found = read(root, b"a/b.jpg")
    assert isinstance(found, Content)
    assert found.payload == b"picture"
    assert found.stamp == listed(root).files[b"a/b.jpg"]


def test_links_are_neither_listed_nor_followed(root: Path) -> None:
    (root / "in.jpg").write_bytes(b"inside")
    (root / "file.jpg").symlink_to(root.parent / "outside" / "secret.jpg")
    (root / "folder").symlink_to(root.parent / "outside")
    (root / "loop").symlink_to(root)
    (root / "inner.jpg").symlink_to("in.jpg")
    found = listed(root)
    assert list(found.files) == [b"in.jpg"]
    assert sorted(found.left_out) == [b"file.jpg", b"folder", b"inner.jpg", b"loop"]
    for path in (b"file.jpg", b"folder/secret.jpg", b"loop/in.jpg", b"inner.jpg"):
        assert isinstance(read(root, path), Unreadable), path


@pytest.mark.parametrize("path", [b"../outside/secret.jpg", b"/etc/passwd", b"a//b", b"./in.jpg", b"", b".."])
def test_paths_that_lead_out_are_refused(root: Path, path: bytes) -> None:
    assert reason(root, path) == "is no path within the library"


def test_pipes_and_devices_are_named_and_not_opened(root: Path) -> None:
    os.mkfifo(root / "pipe.jpg")
    (root / "folder.jpg").mkdir()
    names = [b"pipe.jpg"]
    if os.geteuid() == 0:
        try:
            os.mknod(root / "zero.jpg", 0o600 | 0o020000, os.makedev(1, 5))
            names.append(b"zero.jpg")
        except PermissionError:  # in a container
            pass
    found = listed(root)
    assert dict(found.left_out) == dict.fromkeys(names, "is no regular file")
    assert {reason(root, name) for name in (*names, b"folder.jpg")} == {"is no regular file"}


@pytest.mark.parametrize("place", ["file", "folder"])
def test_a_link_that_takes_a_place_between_check_and_open_is_refused(
    root: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a").mkdir()
    (root / "a" / "secret.jpg").write_bytes(b"inside")
    target = root.parent / "outside" / "secret.jpg"
    stat = os.stat

    def stat_then_swap(*args: Any, **options: Any) -> os.stat_result:
        found = stat(*args, **options)
        if options.get("dir_fd") is not None and not (root / "moved").exists():
            what = root / "a" / "secret.jpg" if place == "file" else root / "a"
            what.rename(root / "moved")
            what.symlink_to(target if place == "file" else target.parent)
        return found

    monkeypatch.setattr(os, "stat", stat_then_swap)
    first, later = read(root, b"a/secret.jpg"), read(root, b"a/secret.jpg")
    assert isinstance(later, Unreadable)
    if place == "file":
        assert isinstance(first, Unreadable)
    else:  # the folder that was opened is the one that was there
        assert isinstance(first, Content) and first.payload == b"inside"


def test_nothing_outside_is_read_while_links_come_and_go(root: Path) -> None:
    (root / "a").mkdir()
    (root / "a" / "secret.jpg").write_bytes(b"inside")
    ended = threading.Event()

    def swap() -> None:
        while not ended.is_set():
            (root / "a").rename(root / ".b")
            (root / "a").symlink_to(root.parent / "outside")
            (root / "a").unlink()
            (root / ".b").rename(root / "a")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        folder = folder_of(root)

        async def read_many() -> list[Content | Unreadable]:
            return [await folder.read(b"a/secret.jpg") for _ in range(300)]

        found = asyncio.run(read_many())
        listings = [listed(root) for _ in range(20)]
    finally:
        ended.set()
        thread.join()
    assert {one.payload for one in found if isinstance(one, Content)} <= {b"inside"}
    assert {stamp.n_bytes for one in listings for stamp in one.files.values()} <= {len(b"inside")}


def test_a_file_that_grows_while_it_is_read_is_not_taken(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "a.jpg").write_bytes(b"half of it")
    os_read: Callable[[int, int], bytes] = os.read

    def read_while_it_grows(descriptor: int, n_bytes: int) -> bytes:
        with (root / "a.jpg").open("ab") as file:
            file.write(b"x")
        return os_read(descriptor, n_bytes)

    with monkeypatch.context() as patched:
        patched.setattr(os, "read", read_while_it_grows)
        assert reason(root, b"a.jpg") == "changed while it was read"


def test_a_file_over_the_limit_is_not_read(root: Path) -> None:
    (root / "a.jpg").write_bytes(bytes(11))
    assert reason(root, b"a.jpg", max_bytes=10) == "has 11 bytes, limit is 10"
    assert isinstance(read(root, b"a.jpg", max_bytes=11), Content)


def test_names_that_are_not_unicode_are_listed_and_read(root: Path) -> None:
    for name in (b"caf\xe9.jpg", "ä\u0301 \n*.jpg".encode(), b"\xff\xfe/\x01.jpg"):
        path = root / os.fsdecode(name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name)
    found = listed(root)
    assert len(found.files) == 3
    for listed_path in found.files:
        content = read(root, listed_path)
        assert isinstance(content, Content) and content.payload == listed_path


def test_what_may_not_be_read_is_named_and_the_rest_is_listed() -> None:
    with tempfile.TemporaryDirectory(prefix="diptych-test-") as name:  # folders of pytest are private
        root = Path(name)
        root.chmod(0o755)
        for path in ("open/a.jpg", "closed/b.jpg", "mine.jpg"):
            (root / path).parent.mkdir(exist_ok=True)
            (root / path).write_bytes(b"1")
            (root / path).chmod(0o644)
        (root / "closed").chmod(0)
        (root / "mine.jpg").chmod(0)
        try:
            with as_nobody_in_particular():
                found = listed(root)
                why = reason(root, b"mine.jpg")
        finally:
            (root / "closed").chmod(0o755)
    assert sorted(found.files) == [b"mine.jpg", b"open/a.jpg"]
    assert found.unread == {b"closed": "Permission denied"}
    assert why == "Permission denied"


@pytest.mark.parametrize("code", [errno.ESTALE, errno.EIO])
def test_folder_of_a_failing_disk_is_named_and_the_rest_is_listed(
    root: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    for path in ("good/a.jpg", "bad/b.jpg"):
        (root / path).parent.mkdir()
        (root / path).write_bytes(b"1")
    os_open = os.open

    def open_unless_bad(path: Any, *args: Any, **options: Any) -> int:
        if path == b"bad":
            raise OSError(code, os.strerror(code))
        return os_open(path, *args, **options)

    monkeypatch.setattr(os, "open", open_unless_bad)
    found = listed(root)
    assert (list(found.files), found.unread) == ([b"good/a.jpg"], {b"bad": os.strerror(code)})
    assert reason(root, b"bad/b.jpg") == os.strerror(code)


def test_files_whose_handles_are_stale_are_named_and_the_others_are_read(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.jpg", "bad.jpg"):
        (root / name).write_bytes(b"1")
    os_read: Callable[[int, int], bytes] = os.read

    def read_unless_bad(descriptor: int, n_bytes: int) -> bytes:
        if os.path.samestat(os.fstat(descriptor), (root / "bad.jpg").stat()):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return os_read(descriptor, n_bytes)

    with monkeypatch.context() as patched:  # as a file that another machine has replaced
        patched.setattr(os, "read", read_unless_bad)
        assert reason(root, b"bad.jpg") == os.strerror(errno.ESTALE)
        assert isinstance(read(root, b"a.jpg"), Content)


def test_a_very_deep_tree_is_cut_and_named(root: Path) -> None:
    here = os.open(root, os.O_RDONLY)
    for _ in range(MAX_DEPTH + 200):  # longer than any path that the system takes
        os.mkdir("d" * 20, dir_fd=here)
        inner = os.open("d" * 20, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    (root / "a.jpg").write_bytes(b"1")
    found = listed(root)
    assert list(found.files) == [b"a.jpg"]
    assert list(found.unread.values()) == [f"is more than {MAX_DEPTH} folders deep"]
    assert next(iter(found.unread)).count(b"/") == MAX_DEPTH


def test_a_root_that_is_away_is_named_without_its_path(root: Path) -> None:
    root.rmdir()
    for call in (lambda: listed(root), lambda: read(root, b"a.jpg")):
        with pytest.raises(LibraryAway) as raised:
            call()
        assert (
            str(raised.value) == "the folder of library 'photos' is out of reach: No such file or directory"
        )

"""Items of a job from the files of an archive."""

import tarfile
from typing import Any

import pytest

from diptych.core.job import JobItem
from diptych.core.jobs.items import MAX_DESCRIPTION_BYTES, items_of_archive
from diptych.errors import InvalidValue, TooLarge
from support.tars import entry, header, tar_of, tar_with


def read_items(archive: bytes, max_items: int = 10, max_image_bytes: int = 1000) -> list[JobItem]:
    return items_of_archive(lambda at, n: archive[at : at + n], len(archive), max_items, max_image_bytes)


def test_files_are_items_in_their_order_with_their_names_as_metadata() -> None:
    archive = tar_of({"b.png": b"bb", "deep/a.jpg": b"aaa", "notes.txt": b"?"})
    items = read_items(archive)
    assert [item.metadata for item in items] == [
        {"file": {"name": "b.png", "folder": "."}},
        {"file": {"name": "a.jpg", "folder": "deep"}},
        {"file": {"name": "notes.txt", "folder": "."}},
    ]
    assert [archive[item.offset : item.offset + item.n_bytes] for item in items] == [b"bb", b"aaa", b"?"]
    assert [item.number for item in items] == [0, 1, 2]


@pytest.mark.parametrize("order", ["before", "after"])
def test_description_beside_an_image_gives_id_and_metadata(order: str) -> None:
    files = {"a/cat.json": b'{"id": "tom", "metadata": {"age": 3, "file": "x"}}', "a/cat.jpg": b"cat"}
    if order == "after":
        files = dict(reversed(files.items()))
    (item,) = read_items(tar_of(files))
    assert (item.id, item.metadata, item.file) == ("tom", {"age": 3, "file": "x"}, "a/cat.jpg")


def test_description_is_of_its_own_folder_and_name_alone() -> None:
    files = {"cat.json": b'{"id": "tom"}', "a/cat.jpg": b"1", "cat.small.jpg": b"2", "cat.jpg": b"3"}
    assert [item.id for item in read_items(tar_of(files))] == [None, None, "tom"]


def test_folders_and_hidden_files_are_left_out() -> None:
    names = ("a.png", "._a.png", ".hidden/b.png", "./c.png", "x/.DS_Store")
    assert [item.file for item in read_items(tar_of(dict.fromkeys(names, b"x")))] == ["a.png", "./c.png"]
    assert read_items(tar_with(entry("folder", tarfile.DIRTYPE))) == []


WRONG = {
    "link": (tar_with(entry("a.png", tarfile.SYMTYPE, "/etc/passwd")), "is a link"),
    "hard link": (tar_with(entry("a.png", tarfile.LNKTYPE, "b.png")), "is a link"),
    "device": (tar_with(entry("a.png", tarfile.CHRTYPE)), "is a device"),
    "absolute path": (header(b"/etc/a.png", b"1") + b"x".ljust(512, b"\0") + bytes(1024), "outside of"),
    "way out": (tar_of({"a/../../b.png": b"x"}), "outside of"),
    "too large": (tar_of({"a.png": b"x" * 1001}), "1001 bytes, limit is 1000"),
    "no JSON": (tar_of({"a.png": b"x", "a.json": b"{"}), "is not JSON"),
    "JSON of another kind": (tar_of({"a.png": b"x", "a.json": b"[]"}), "must be an object, not an array"),
    "unknown keys": (tar_of({"a.png": b"x", "a.json": b'{"tags": 1}'}), "unknown keys, such as 'tags'"),
    "id that is no text": (tar_of({"a.png": b"x", "a.json": b'{"id": 7}'}), "id must be a string"),
    "deep JSON": (tar_of({"a.png": b"x", "a.json": b"[" * 50_000}), "is not JSON"),
    "long description": (tar_of({"a.png": b"x", "a.json": b" " * (MAX_DESCRIPTION_BYTES + 1)}), "is 65536"),
    "description of nothing": (tar_of({"b.json": b"{}"}), "describes no image"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG.keys())
def test_item_that_cannot_be_added_says_why_and_fails_alone(case: Any) -> None:
    archive, complaint = case
    good = tar_of({"good.png": b"x"})
    (bad, *_), items = read_items(archive), read_items(good[:1024] + archive)
    assert isinstance(bad.error, InvalidValue | TooLarge)
    assert complaint in str(bad.error)
    assert (bad.n_bytes, bad.metadata) == (0, None)
    assert [item.error is None for item in items] == [True, False]


def test_too_many_items_are_refused() -> None:
    with pytest.raises(TooLarge, match="11 items, limit is 10"):
        read_items(tar_of({f"{i}.png": b"" for i in range(11)}))

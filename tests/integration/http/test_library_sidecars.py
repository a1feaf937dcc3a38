"""Sidecars of pictures in a library, over HTTP: captions and ratings follow them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.app import running_app
from support.embedded_captions import xmp_of
from support.library_folder import Folder
from support.pictures import picture


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    root = tmp_path / "pictures"
    root.mkdir()
    with running_app(tmp_path, libraries=(f"photos={root}",)) as client:
        yield Folder(root, client)


def said(folder: Folder, path: str) -> dict[str, Any]:
    """What the metadata of an image have from its sidecar."""
    file = folder.images()[path]["metadata"]["file"]
    return {name: value for name, value in file.items() if name not in {"name", "folder", "modified"}}


def of_title(title: str) -> bytes:
    return xmp_of(title={"x-default": title})


def n_encoded(folder: Folder) -> str:
    lines = folder.client.get("/metrics").text.splitlines()
    return next(line for line in lines if line.startswith('diptych_batch_size_sum{encoder="image"'))


def test_image_follows_its_sidecar_and_is_not_embedded_again(folder: Folder) -> None:
    folder.write("a.png", picture("red"))
    folder.scanned()
    before, encoded = folder.images()["a.png"], n_encoded(folder)
    folder.client.patch(before["links"]["self"], json={"metadata": {"title": "mine", "rating": 1}})
    heron = xmp_of({"x-default": "a grey heron"}, {"x-default": "Ardea"}, ["bird", "water"], 4)
    folder.write("a.xmp", heron)
    assert folder.scanned()["n_files"] == 1
    keywords = ["bird", "water"]
    assert said(folder, "a.png") == {
        "caption": "a grey heron", "title": "Ardea", "keywords": keywords, "rating": 4
    }  # fmt: skip
    id = before["id"]
    assert folder.hits("heron", match="words") == {id}
    assert folder.hits(filter={"file.rating": {"gte": 3}}) == {id}
    assert folder.hits(filter={"file.keywords": "bird"}) == {id}
    folder.write("a.xmp", of_title("new"), age_s=30)
    folder.scanned()
    assert said(folder, "a.png") == {"title": "new"}
    folder.write("a.png.xmp", of_title("whole name"))
    folder.scanned()
    assert said(folder, "a.png") == {"title": "whole name"}
    (folder.root / "a.png.xmp").unlink()
    folder.scanned()
    assert said(folder, "a.png") == {"title": "new"}
    (folder.root / "a.xmp").unlink()
    folder.scanned()
    assert said(folder, "a.png") == {}
    after = folder.images()["a.png"]
    assert (after["id"], after["metadata"]["title"], after["metadata"]["rating"]) == (id, "mine", 1)
    assert n_encoded(folder) == encoded


def test_sidecar_that_is_there_first_describes_what_is_added_moved_or_changed(folder: Folder) -> None:
    folder.write("a.png", picture("red"))
    folder.write("a.xmp", of_title("a"))
    folder.scanned()
    assert said(folder, "a.png") == {"title": "a"}
    folder.write("a.png", picture("blue"), age_s=30)
    folder.scanned()
    assert said(folder, "a.png") == {"title": "a"}
    (folder.root / "b").mkdir()
    for name in ("a.png", "a.xmp"):
        (folder.root / name).rename(folder.root / "b" / name)
    folder.scanned()
    assert said(folder, "b/a.png") == {"title": "a"}
    (folder.root / "b" / "a.png").rename(folder.root / "alone.png")
    folder.scanned()
    assert said(folder, "alone.png") == {}


def test_copy_with_a_sidecar_speaks_for_the_image(folder: Folder) -> None:
    folder.write("a.png", picture("red"))
    folder.scanned()
    folder.write("z.png", picture("red"))
    folder.write("z.xmp", of_title("z"))
    folder.scanned()
    assert said(folder, "z.png") == {"title": "z"}
    (folder.root / "z.png").unlink()
    folder.scanned()
    assert said(folder, "a.png") == {}


def test_hostile_sidecars_are_named_and_their_pictures_stay(folder: Folder, tmp_path: Path) -> None:
    for name in ("bomb", "large", "link", "text"):
        folder.write(f"{name}.png", picture((len(name) * 20, ord(name[0]), 0)))
    (tmp_path / "secret.xmp").write_bytes(of_title("secret"))
    (folder.root / "link.xmp").symlink_to(tmp_path / "secret.xmp")
    folder.write("bomb.xmp", b'<!DOCTYPE x [<!ENTITY a "a"><!ENTITY b "&a;&a;">]><x>&b;</x>')
    folder.write("text.png.xmp", b"no XML")
    folder.write("large.xmp", b"")
    os.truncate(folder.root / "large.xmp", 100_000_000)
    os.utime(folder.root / "large.xmp", (1e9, 1e9))
    found = folder.scanned()
    assert (found["n_files"], found["n_failed"], found["state"]) == (4, 0, "idle")
    problems = {one["path"]: one["reason"] for one in found["problems"]}
    assert list(problems) == ["bomb.xmp", "large.xmp", "link.xmp", "text.png.xmp"]
    assert problems["large.xmp"] == "has 100000000 bytes, limit is 1000000"
    assert problems["bomb.xmp"].startswith("its XMP declares a document type")
    assert [said(folder, path) for path in folder.images()] == [{}] * 4
    folder.write("text.png.xmp", of_title("better"))
    assert folder.scanned()["n_problems"] == 3
    assert said(folder, "text.png") == {"title": "better"}


def test_sidecar_survives_a_restart_without_being_read_again(tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    root.mkdir()
    for n in range(2):
        with running_app(tmp_path, libraries=(f"photos={root}",)) as client:
            folder = Folder(root, client)
            if n == 0:
                folder.write("a.png", picture("red"))
                folder.write("a.xmp", of_title("a"))
            folder.scanned()
            assert said(folder, "a.png") == {"title": "a"}
            (root / "a.xmp").unlink() if n else None
            folder.scanned()
            assert said(folder, "a.png") == ({} if n else {"title": "a"})

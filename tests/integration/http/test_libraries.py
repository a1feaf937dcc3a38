"""Folders of pictures that stay where they are, over HTTP."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from diptych.adapters.backup.create import back_up
from diptych.adapters.backup.data_folder import check
from diptych.adapters.backup.restore import restore
from diptych.cli.output.progress import ProgressBars
from diptych.core.libraries import service
from support.app import running_app
from support.image_requests import add_images
from support.library_folder import COLLECTION, WITHIN_S, Folder
from support.pictures import picture


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    return tmp_path / "pictures"


@pytest.fixture
def folder(root: Path, tmp_path: Path) -> Iterator[Folder]:
    with running_app(tmp_path, libraries=(f"photos={root}",)) as client:
        yield Folder(root, client)


def test_pictures_are_found_and_read_from_their_place(folder: Folder, tmp_path: Path) -> None:
    folder.write("2024/red.png", picture("red"))
    folder.write("blue.png", picture("blue"))
    found = folder.scanned()
    assert (found["n_files"], found["n_failed"], found["reason"]) == (2, 0, "")
    image = folder.images()["2024/red.png"]
    assert image["kept"] and image["metadata"]["file"]["modified"].endswith("Z")
    assert len(folder.hits()) == 2
    original = folder.client.get(image["links"]["original"])
    assert original.content == picture("red")
    assert folder.client.get(image["links"]["thumbnail"]).headers["content-type"] == "image/webp"
    assert list((tmp_path / "data" / "images").glob("*/*")) == []
    assert len(list((tmp_path / "data" / "previews").glob("*/*"))) == 1
    collection = folder.client.get(COLLECTION).json()
    assert (collection["keep"], collection["n_images"], collection["n_kept"]) == ("reference", 2, 0)


def test_moved_file_keeps_its_image_and_what_people_said_of_it(folder: Folder) -> None:
    folder.write("a/red.png", picture("red"))
    folder.scanned()
    before = folder.images()["a/red.png"]
    folder.client.patch(before["links"]["self"], json={"metadata": {"tag": "mine"}})
    (folder.root / "b").mkdir()
    (folder.root / "a" / "red.png").rename(folder.root / "b" / "rouge.png")
    found = folder.scanned()
    (after,) = folder.images().values()
    assert (found["n_files"], found["n_missing"]) == (1, 0)
    assert (after["id"], after["created_at"]) == (before["id"], before["created_at"])
    assert after["metadata"]["tag"] == "mine"
    assert (after["metadata"]["file"]["folder"], after["metadata"]["file"]["name"]) == ("b", "rouge.png")
    assert folder.hits(filter={"file.folder": "b"}) == {before["id"]}
    assert folder.client.get(after["links"]["original"]).content == picture("red")


def test_changed_file_is_embedded_again_under_its_id(folder: Folder) -> None:
    folder.write("a.png", picture("red"))
    folder.scanned()
    before = folder.images()["a.png"]
    folder.client.patch(before["links"]["self"], json={"metadata": {"tag": "mine"}})
    folder.write("a.png", picture("blue"), age_s=30)
    folder.scanned()
    (after,) = folder.images().values()
    assert (after["id"], after["metadata"]["tag"]) == (before["id"], "mine")
    assert after["sha256"] != before["sha256"]
    assert folder.client.get(after["links"]["original"]).content == picture("blue")
    best = folder.client.get("/search", params={"q": "blue", "collection": "photos", "k": 1}).json()["hits"][
        0
    ]
    assert best["cosine"] > 0.9


def test_image_has_the_name_of_a_copy_once_its_file_has_other_content(folder: Folder) -> None:
    for name in ("a.png", "b.png"):
        folder.write(name, picture("red"))
    folder.scanned()
    ((name, red),) = folder.images().items()
    other = "a.png" if name == "b.png" else "b.png"
    folder.write(name, picture("blue"), age_s=30)
    folder.scanned()
    images = folder.images()
    assert images.keys() == {name, other}
    assert images[other]["id"] == red["id"]
    for path, to in ((name, "swap"), (other, name), ("swap", other)):
        (folder.root / path).rename(folder.root / to)
    folder.scanned()
    assert folder.images()[name]["id"] == red["id"]


def test_missing_file_is_marked_and_not_found_until_it_is_back(folder: Folder) -> None:
    folder.write("red.png", picture("red"))
    folder.write("blue.png", picture("blue"))
    folder.scanned()
    red = folder.images()["red.png"]
    (folder.root / "red.png").rename(folder.root / ".away")
    assert folder.scanned()["n_missing"] == 1
    image = folder.images()["red.png"]
    assert image["id"] == red["id"] and image["metadata"]["file"]["missing"] > red["created_at"]
    assert red["id"] not in folder.hits() | folder.hits("red.png", match="words")
    assert folder.client.get(image["links"]["original"]).status_code == 404
    assert folder.client.get(COLLECTION).json()["state"] == "ready"
    (folder.root / ".away").rename(folder.root / "red.png")
    assert folder.scanned()["n_missing"] == 0
    assert red["id"] in folder.hits() & folder.hits("red.png", match="words")
    assert folder.images()["red.png"]["metadata"] == red["metadata"]


def test_deleted_picture_stays_on_the_disk_and_does_not_come_back(folder: Folder) -> None:
    folder.write("red.png", picture("red"))
    folder.write("blue.png", picture("blue"))
    folder.scanned()
    assert folder.client.delete(folder.images()["red.png"]["links"]["self"]).status_code == 204
    (folder.root / "red.png").rename(folder.root / "moved.png")
    folder.write("copy.png", picture("red"))
    folder.scanned()
    assert list(folder.images()) == ["blue.png"]
    assert (folder.root / "moved.png").read_bytes() == picture("red")


def test_deleted_picture_that_was_sent_does_not_come_back_from_the_folder(folder: Folder) -> None:
    folder.write("red.png", picture("red"))
    assert add_images(folder.client, f"{COLLECTION}/images", picture("red")).is_success
    folder.scanned()
    (id,) = folder.hits()
    assert folder.client.delete(f"{COLLECTION}/images/{id}").status_code == 204
    folder.write("copy.png", picture("red"))
    folder.scanned()
    assert folder.hits() == set()


def test_folder_that_is_away_changes_nothing_and_originals_wait_for_it(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "LOOK_EVERY_S", 0.05)
    folder.write("red.png", picture("red"))
    folder.scanned()
    image = folder.images()["red.png"]
    assert folder.client.get(image["links"]["thumbnail"]).status_code == 200
    folder.root.rename(folder.root.parent / "unmounted")
    for reason in ("out of reach", "none of its 1 files is there"):
        found = folder.waiting(reason)
        assert (found["state"], found["n_missing"]) == ("waiting", 0)
        assert folder.hits() == {image["id"]}
        answer = folder.client.get(image["links"]["original"])
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:diptych:error:library-away")
        assert str(folder.root) not in answer.text
        folder.root.mkdir(exist_ok=True)  # an empty one is the place where a disk is mounted
    assert folder.client.get(image["links"]["thumbnail"]).status_code == 200
    folder.root.rmdir()
    (folder.root.parent / "unmounted").rename(folder.root)
    assert folder.scanned()["state"] == "idle"
    assert folder.client.get(image["links"]["original"]).content == picture("red")


def test_folder_that_is_empty_for_good_is_taken_for_it_once_somebody_says_so(folder: Folder) -> None:
    folder.write("red.png", picture("red"))
    folder.scanned()
    (folder.root / "red.png").rename(folder.root.parent / "red.png")
    found = folder.scanned()
    assert (found["state"], found["n_missing"], folder.hits()) == ("idle", 1, set())
    (folder.root.parent / "red.png").rename(folder.root / "red.png")
    assert folder.scanned()["n_missing"] == 0
    assert len(folder.hits()) == 1


def test_files_swapped_with_equal_size_and_time_are_noticed_once_one_is_opened(folder: Folder) -> None:
    payloads = [picture(colour) for colour in ("red", "blue")]
    n_bytes = max(map(len, payloads))
    red, blue = (one.ljust(n_bytes, b"\0") for one in payloads)
    for name, payload in (("a.png", red), ("b.png", blue)):
        folder.write(name, payload)
        os.utime(folder.root / name, (1e9, 1e9))
    folder.scanned()
    links = {name: one["links"]["original"] for name, one in folder.images().items()}
    for name, to in (("a.png", "swap"), ("b.png", "a.png"), ("swap", "b.png")):
        (folder.root / name).rename(folder.root / to)
    folder.scanned()
    for link in links.values():
        answer = folder.client.get(link)
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:diptych:error:not-found")
        assert "has changed, since it was last looked at: it is looked at again" in answer.text
    folder.scanned()
    assert [folder.client.get(link).content for link in links.values()] == [red, blue]
    assert [one["links"]["original"] for one in folder.images().values()] == [links["a.png"], links["b.png"]]
    assert sorted(folder.images()) == ["a.png", "b.png"]


def test_pictures_that_were_deleted_are_restored_on_request(folder: Folder) -> None:
    for colour in ("red", "blue"):
        folder.write(f"{colour}.png", picture(colour))
    folder.scanned()
    assert folder.client.delete(folder.images()["red.png"]["links"]["self"]).status_code == 204
    assert folder.scanned()["n_files"] == 2
    assert list(folder.images()) == ["blue.png"]
    assert folder.scanned(restore_deleted=True)["state"] == "idle"
    image = folder.images()["red.png"]
    assert image["id"] in folder.hits() and image["referenced"]
    (folder.root / "red.png").rename(folder.root / "moved.png")
    folder.scanned()
    assert sorted(folder.images()) == ["blue.png", "moved.png"]


def test_another_folder_in_the_place_of_a_library_changes_nothing_until_somebody_says_so(
    root: Path, tmp_path: Path
) -> None:
    shades = range(100, 220, 10)
    with running_app(tmp_path, libraries=(f"photos={root}",)) as client:
        folder = Folder(root, client)
        for shade in shades:
            folder.write(f"{shade}.png", picture((shade, 0, 0)))
        assert folder.scanned()["n_files"] == len(shades)
        hits = folder.hits()
    other = tmp_path / "other"
    other.mkdir()
    with running_app(tmp_path, libraries=(f"photos={other}",)) as client:
        folder = Folder(other, client)
        folder.write("blue.png", picture("blue"))
        found = folder.waiting("12 of its 12 files are gone")
        assert (found["state"], found["n_missing"], folder.hits()) == ("waiting", 0, hits)
        found = folder.scanned()
        assert (found["state"], found["n_missing"]) == ("idle", 12)
        assert folder.hits() == {folder.images()["blue.png"]["id"]}


def test_what_is_no_picture_is_named_and_the_rest_goes_on(folder: Folder) -> None:
    folder.write("broken.png", picture("red")[:50])
    folder.write("text.jpg", b"no picture")
    for name in (b"caf\xe9.png", b"new\nline\x01.png"):
        folder.write(os.fsdecode(name), picture("red"))
    (folder.root / "link.png").symlink_to("/etc/passwd")
    os.mkfifo(folder.root / "pipe.png")
    found = folder.scanned()
    assert (found["n_files"], found["n_failed"], found["n_problems"]) == (4, 2, 4)
    assert [one["path"] for one in found["problems"]] == ["broken.png", "link.png", "pipe.png", "text.jpg"]
    (image,) = folder.images().values()
    assert folder.hits() == {image["id"]}
    folder.write("broken.png", picture("blue"))
    assert folder.scanned()["n_failed"] == 1
    assert len(folder.images()) == 2


def test_empty_file_is_named_and_the_rest_goes_on(folder: Folder) -> None:
    folder.write("a.png", b"")
    folder.write("b.png", picture("red"))
    found = folder.scanned()
    assert (found["state"], found["n_failed"]) == ("idle", 1)
    assert [one["path"] for one in found["problems"]] == ["a.png"]
    assert list(folder.images()) == ["b.png"]
    folder.write("b.png", b"", age_s=30)  # as a copy that was cut off leaves it
    found = folder.scanned()
    assert (found["state"], found["n_failed"], found["n_missing"]) == ("idle", 2, 1)
    assert folder.hits() == set()


def test_picture_that_is_overwritten_by_something_else_is_not_found(folder: Folder) -> None:
    folder.write("a.png", picture("red"))
    folder.write("b.png", picture("blue"))
    folder.write("c.png", picture("green"))
    folder.scanned()
    before = folder.images()
    folder.write("a.png", b"no picture", age_s=30)
    folder.write("b.png", picture("green"), age_s=30)
    found = folder.scanned()
    assert (found["n_files"], found["n_failed"]) == (3, 1)
    assert folder.hits() == {before["c.png"]["id"]}
    assert "missing" in folder.images()["a.png"]["metadata"]["file"]
    folder.write("a.png", picture("yellow"), age_s=20)
    folder.scanned()
    assert folder.hits() == {before["a.png"]["id"], before["c.png"]["id"]}
    assert "missing" not in folder.images()["a.png"]["metadata"]["file"]


def test_changes_are_noticed_without_being_asked_for(folder: Folder) -> None:
    folder.write("red.png", picture("red"))
    deadline = time.monotonic() + WITHIN_S
    while folder.library()["n_files"] < 1:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_file_that_may_still_be_written_waits_for_the_next_look(folder: Folder) -> None:
    folder.write("red.png", picture("red")[:60], age_s=0)
    found = folder.scanned()
    assert (found["n_files"], found["n_problems"]) == (0, 0)
    folder.write("red.png", picture("red"))
    assert folder.scanned()["n_files"] == 1


def test_pictures_sent_to_the_collection_are_kept_as_ever(folder: Folder, tmp_path: Path) -> None:
    folder.write("red.png", picture("red"))
    folder.scanned()
    assert add_images(folder.client, f"{COLLECTION}/images", picture("blue"), picture("red")).is_success
    assert len(list((tmp_path / "data" / "images").glob("*/*"))) == 2
    assert folder.client.get(COLLECTION).json()["n_kept"] == 2
    folder.scanned()
    assert len(folder.hits()) == 2


@pytest.mark.parametrize("is_missing", [False, True])
def test_picture_of_the_library_that_is_sent_is_kept_when_its_file_goes(
    folder: Folder, tmp_path: Path, *, is_missing: bool
) -> None:
    folder.write("red.png", picture("red"))
    folder.write("blue.png", picture("blue"))
    folder.scanned()
    red = folder.images()["red.png"]
    if is_missing:
        (folder.root / "red.png").unlink()
        folder.scanned()
        assert "missing" in folder.images()["red.png"]["metadata"]["file"]
    assert add_images(folder.client, f"{COLLECTION}/images", picture("red")).is_success
    (folder.root / "red.png").unlink(missing_ok=True)
    folder.scanned()
    assert folder.images()["red.png"]["metadata"] == red["metadata"]
    assert red["id"] in folder.hits()
    assert folder.client.get(red["links"]["original"]).content == picture("red")
    assert folder.client.get(COLLECTION).json()["n_kept"] == 1
    with ProgressBars(hidden=True) as report:
        assert check(tmp_path / "data", report).is_whole


def test_collection_of_a_library_is_not_renamed_changed_or_dropped(folder: Folder, tmp_path: Path) -> None:
    folder.write("red.png", picture("red"))
    folder.scanned()
    answers = [
        folder.client.patch(COLLECTION, json={"name": "other"}),
        folder.client.patch(COLLECTION, json={"keep": "none"}),
        folder.client.delete(COLLECTION),
    ]
    assert [one.status_code for one in answers] == [409] * 3
    assert folder.client.patch(COLLECTION, json={"text_fields": ["file.name"]}).status_code == 200
    assert folder.client.post("/libraries/other/scan").status_code == 404


def test_library_of_the_name_of_another_collection_waits(root: Path, tmp_path: Path) -> None:
    with running_app(tmp_path):
        pass  # makes the default collection
    with running_app(tmp_path, libraries=(f"default={root}",)) as client:
        folder = Folder(root, client)
        folder.write("red.png", picture("red"))
        client.post("/libraries/default/scan")
        folder.waiting("collection 'default' is of no library: give the library another")
        assert client.get("/collections/default").json()["n_images"] == 0


def test_library_that_is_not_named_any_more_can_be_searched_and_dropped(root: Path, tmp_path: Path) -> None:
    with running_app(tmp_path, libraries=(f"photos={root}",)) as client:
        folder = Folder(root, client)
        folder.write("red.png", picture("red"))
        folder.write("gone.png", picture("blue"))
        folder.scanned()
        (root / "gone.png").unlink()
        folder.scanned()
    with running_app(tmp_path) as client:
        folder = Folder(root, client)
        (image,) = [one for path, one in folder.images().items() if path == "red.png"]
        deadline = time.monotonic() + WITHIN_S
        while client.get(COLLECTION).json()["state"] != "ready":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert folder.hits() == {image["id"]}
        answer = client.get(image["links"]["original"])
        assert answer.status_code == 503
        assert "start the server with --library photos=FOLDER" in answer.json()["detail"]
        (gone,) = [one for path, one in folder.images().items() if path == "gone.png"]
        answer = client.get(gone["links"]["original"])
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:diptych:error:not-found")
        assert "is missing from library 'photos'" in answer.json()["detail"]
        assert client.delete(COLLECTION).status_code == 204
    assert (root / "red.png").read_bytes() == picture("red")
    with running_app(tmp_path, libraries=(f"photos={root}",)) as client:
        folder = Folder(root, client)
        folder.scanned()
        assert list(folder.images()) == ["red.png"]


def test_library_can_be_the_default_collection(root: Path, tmp_path: Path) -> None:
    libraries = (f"photos={root}",)
    with running_app(tmp_path, libraries=libraries, default_collection="photos") as client:
        folder = Folder(root, client)
        folder.write("red.png", picture("red"))
        folder.scanned()
        assert len(client.get("/search", params={"q": "red"}).json()["hits"]) == 1


def test_backup_holds_references_and_serves_the_folder_in_another_place(root: Path, tmp_path: Path) -> None:
    with running_app(tmp_path, libraries=(f"photos={root}",)) as client:
        folder = Folder(root, client)
        folder.write("2024/red.png", picture("red"))
        folder.scanned()
        image = folder.images()["2024/red.png"]
        with ProgressBars(hidden=True) as report:
            done = back_up(tmp_path / "data", tmp_path / "backup", report)
    assert done.is_whole and done.record is not None
    assert (done.record.counts.n_files, done.record.counts.n_referenced) == (0, 1)
    with ProgressBars(hidden=True) as report:
        assert restore(tmp_path / "backup", tmp_path / "restored", report, replace=False).is_whole
        assert check(tmp_path / "restored", report).is_whole
    moved = root.rename(tmp_path / "elsewhere")
    libraries = (f"photos={moved}",)
    with running_app(tmp_path, libraries=libraries, data_dir=tmp_path / "restored") as client:
        folder = Folder(moved, client)
        assert folder.scanned()["n_missing"] == 0
        assert folder.hits() == {image["id"]}
        assert client.get(image["links"]["original"]).content == picture("red")


def test_read_only_server_scans_nothing_and_reads_from_the_folder(root: Path, tmp_path: Path) -> None:
    libraries = (f"photos={root}",)
    with running_app(tmp_path, libraries=libraries) as client:
        folder = Folder(root, client)
        folder.write("red.png", picture("red"))
        folder.scanned()
    with running_app(tmp_path, libraries=libraries, read_only=True) as client:
        folder = Folder(root, client)
        found = folder.library()
        assert (found["state"], found["reason"]) == ("waiting", "this server is read-only and scans nothing")
        assert client.post("/libraries/photos/scan").status_code == 403
        (image,) = folder.images().values()
        assert client.get(image["links"]["original"]).content == picture("red")
        assert client.get(image["links"]["thumbnail"]).status_code == 200

"""`diptych add --watch`: a collection in step with a folder, against a real server."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from diptych.cli.transfer.folder_watch import FolderWatch
from diptych.core.collections.metadata.reserved import file_path
from diptych_client import Client
from support.callers import wait_until
from support.pictures import picture
from support.server import RunningServer, serve
from support.tiny_bundle import TINY

Changes = list[tuple[str, str]]


@pytest.fixture(scope="module")
def server(model_repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serve(model_repo, TINY, tmp_path_factory.mktemp("data")) as server:
        yield server


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client
        for one in client.collections():
            if one.name != "default":
                client.drop_collection(one.name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    (folder / "red.png").write_bytes(picture("red"))
    (folder / "deep" / "blue.png").write_bytes(picture("blue"))
    (folder / "notes.txt").write_text("not an image")
    return folder


def watched(client: Client, folder: Path, changes: Changes) -> FolderWatch:
    return FolderWatch(
        client,
        folder,
        "pets",
        recursive=True,
        on_change=lambda change, file, why: changes.append((change, file)),
    )


def look_twice(watch: FolderWatch) -> None:
    """The first look sees what has changed, the second one that it is complete."""
    watch.look()
    watch.look()


def stored(client: Client) -> set[str]:
    return {image.id for image in client.list_images("pets").images}


def test_new_changed_and_deleted_files_are_followed(client: Client, folder: Path) -> None:
    changes: Changes = []
    watch = watched(client, folder, changes)
    look_twice(watch)
    assert stored(client) == {"red.png", "deep~blue.png"}
    file = client.get_image("pets", "deep~blue.png").metadata["file"]
    assert (file["name"], file["folder"], set(file)) == ("blue.png", "deep", {"name", "folder", "modified"})
    (folder / "green.png").write_bytes(picture("green"))
    (folder / "red.png").write_bytes(picture("yellow"))
    (folder / "deep" / "blue.png").unlink()
    look_twice(watch)
    assert stored(client) == {"red.png", "green.png"}
    assert client.original("pets", "red.png") == picture("yellow")
    assert sorted(changes) == [
        ("added", "deep/blue.png"),
        ("added", "green.png"),
        ("added", "red.png"),
        ("deleted", "deep/blue.png"),
        ("replaced", "red.png"),
    ]
    assert watch.n_images == 2


def test_file_is_not_sent_while_it_grows(client: Client, folder: Path) -> None:
    changes: Changes = []
    watch = watched(client, folder, changes)
    watch.look()
    (folder / "red.png").write_bytes(picture("red") * 2)
    watch.look()
    assert changes == [("added", "deep/blue.png")]
    watch.look()
    assert changes[1:] == [("added", "red.png")]


def test_another_watch_of_the_folder_goes_on_without_sending_again(client: Client, folder: Path) -> None:
    look_twice(watched(client, folder, []))
    (folder / "deep" / "blue.png").unlink()
    (folder / "red.png").touch()
    changes: Changes = []
    look_twice(watched(client, folder, changes))
    assert changes == [("deleted", "deep/blue.png")]


def test_bad_and_special_files_fail_alone_and_once_until_they_change(client: Client, folder: Path) -> None:
    os.mkfifo(folder / "pipe.png")
    (folder / "bad.png").write_bytes(b"no picture")
    changes: Changes = []
    watch = watched(client, folder, changes)
    look_twice(watch)
    look_twice(watch)
    assert sorted(changes) == [
        ("added", "deep/blue.png"),
        ("added", "red.png"),
        ("failed", "bad.png"),
        ("failed", "pipe.png"),
    ]
    (folder / "bad.png").write_bytes(picture("green"))
    look_twice(watch)
    assert changes[-1] == ("added", "bad.png")


def test_names_that_no_id_can_have_are_told_apart(client: Client, folder: Path) -> None:
    colours = {"猫.png": "green", "犬.png": "black", "c d.png": "white", "c-d.png": "yellow"}
    for name, colour in colours.items():
        (folder / name).write_bytes(picture(colour))
    watch = watched(client, folder, [])
    look_twice(watch)
    (folder / "犬.png").unlink()
    (folder / "猫.png").write_bytes(picture((99, 9, 9)))
    look_twice(watch)
    changes: Changes = []
    look_twice(watched(client, folder, changes))
    assert changes == []
    files = {file_path(image.metadata): image.id for image in client.list_images("pets").images}
    assert set(files) == {"red.png", "deep/blue.png", "猫.png", "c d.png", "c-d.png"}
    assert client.original("pets", files["猫.png"]) == picture((99, 9, 9))


def test_links_out_of_the_folder_are_skipped(client: Client, folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "photos2" / "secret.png"  # beside a folder whose name begins alike
    outside.parent.mkdir()
    outside.write_bytes(picture("green"))
    (folder / "out.png").symlink_to(outside)
    (folder / "deep" / "zz.png").symlink_to(Path("..", "in.webp"))
    (folder / "in.webp").symlink_to("notes.txt")
    (folder / "notes.txt").write_bytes(picture("black"))
    changes: Changes = []
    watch = watched(client, folder, changes)
    look_twice(watch)
    assert sorted(change for change in changes if change[0] != "added") == [("skipped", "out.png")]
    assert stored(client) == {"red.png", "deep~blue.png", "in.webp"}
    (folder / "out.png").unlink()
    (folder / "out.png").write_bytes(picture("green"))
    look_twice(watch)
    assert changes[-1] == ("added", "out.png")


def test_images_from_elsewhere_are_neither_replaced_nor_deleted(client: Client, folder: Path) -> None:
    client.create_collection("pets")
    client.add([picture("green"), picture("red")], ids=["red.png", "own"], collection="pets")
    changes: Changes = []
    watch = watched(client, folder, changes)
    look_twice(watch)
    assert ("failed", "red.png") in changes
    (folder / "red.png").unlink()
    look_twice(watch)
    assert stored(client) == {"own", "red.png", "deep~blue.png"}
    assert client.original("pets", "red.png") == picture("green")


def test_equal_image_that_is_there_already_stays_when_its_file_goes(client: Client, folder: Path) -> None:
    client.create_collection("pets")
    client.add([picture("red")], ids=["red.png"], collection="pets")
    changes: Changes = []
    watch = watched(client, folder, changes)
    look_twice(watch)
    assert ("left", "red.png") in changes
    (folder / "red.png").unlink()
    look_twice(watch)
    assert "red.png" in stored(client)


@pytest.mark.parametrize("gone", ["files", "folder"])
def test_empty_or_missing_folder_deletes_nothing(
    client: Client, folder: Path, gone: str, tmp_path: Path
) -> None:
    watch = watched(client, folder, [])
    look_twice(watch)
    if gone == "folder":
        folder.rename(tmp_path / "away")
    else:
        (folder / "red.png").unlink()
        (folder / "deep" / "blue.png").unlink()
    look_twice(watch)
    assert len(stored(client)) == 2
    assert "nothing is deleted" in watch.trouble


def test_command_survives_a_restart_of_the_server_and_ends_at_a_signal(
    model_repo: Path, tmp_path: Path, folder: Path
) -> None:
    log, data_dir = tmp_path / "watch.log", tmp_path / "data"
    with serve(model_repo, TINY, data_dir) as first:
        url = first.url
        port = str(urlsplit(url).port)
        command = ["add", "--watch", folder, "--poll-s", "0.1", "--collection", "pets", "--url", url]
        ours = {name: value for name, value in os.environ.items() if not name.startswith("DIPTYCH_")}
        with log.open("wb") as output:
            watching = subprocess.Popen(
                [sys.executable, "-m", "diptych", *map(str, command)], stdout=output, stderr=output, env=ours
            )
        try:
            wait_until(lambda: log.read_text().count("added ") == 2)
            first.stop()
            (folder / "green.png").write_bytes(picture("green"))
            wait_until(lambda: "waiting cannot reach" in log.read_text())
            with serve(model_repo, TINY, data_dir, "--port", port), Client(url) as client:
                wait_until(lambda: "green.png" in stored(client))
                wait_until(lambda: "added green.png" in log.read_text())
                watching.send_signal(signal.SIGTERM)
                assert watching.wait(timeout=30) == 0
        finally:
            watching.kill()
            watching.wait()
    lines = log.read_text().splitlines()
    assert lines[0].startswith("watching ")
    assert "continuing what was in the way is gone" in lines
    assert lines[-1] == "stopped 3 added"

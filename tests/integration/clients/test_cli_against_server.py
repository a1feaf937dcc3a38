"""The commands against a real server with the tiny model, as processes where that matters."""

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from diptych.cli import INTERRUPTED, READER_LEFT, main
from support.pictures import picture
from support.server import RunningServer, serve
from support.tars import tar_of
from support.tiny_bundle import TINY, write_tiny_bundle


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("cli")
    write_tiny_bundle(folder / "model_repo")
    with serve(folder / "model_repo", TINY, folder / "data", "--default-collection", "shelf") as running:
        yield running


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures, one of them in a subfolder, and a broken file."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "more").mkdir()
    (folder / "red.png").write_bytes(picture("red"))
    (folder / "more" / "blue.jpg").write_bytes(picture("blue", form="JPEG"))
    (folder / "broken.png").write_bytes(picture("green")[:60])
    return folder


def diptych(server: RunningServer, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command in this process and return what it prints."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with (
        mock.patch.dict(os.environ, DIPTYCH_URL=server.url),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            status = main([*map(str, arguments)])
        except SystemExit as ended:  # argparse
            status = int(ended.code or 0)
    printed = []
    for stream in (out, err):
        stream.seek(0)
        printed.append(stream.read())
    return subprocess.CompletedProcess(arguments, status, *printed)


def test_folder_is_added_despite_a_broken_file_and_again_without_change(
    server: RunningServer, photos: Path
) -> None:
    first = diptych(server, "add", photos, "--collection", "twice")
    assert first.stdout == "twice: 2 created, 0 replaced, 0 unchanged, 1 failed\n"
    assert first.returncode == 1
    assert f"failed: {photos / 'broken.png'}" in first.stderr
    again = diptych(server, "add", photos / "red.png", photos / "more", "--collection", "twice")
    assert again.stdout == "twice: 0 created, 0 replaced, 2 unchanged, 0 failed\n"
    assert again.returncode == 0


def test_added_images_are_searched_by_words_in_the_default_collection(
    server: RunningServer, photos: Path
) -> None:
    diptych(server, "add", photos / "red.png", photos / "more", "--id-from", "name")
    by_words = diptych(server, "search", "blue", "-k", "1")
    assert by_words.returncode == 0
    assert by_words.stdout.splitlines()[1].split()[1] == "blue.jpg"
    by_image = json.loads(diptych(server, "search", "--image", photos / "red.png", "--json").stdout)
    assert by_image["hits"][0]["id"] == "red.png"


def test_image_is_classified_with_bars(server: RunningServer, photos: Path) -> None:
    done = diptych(server, "classify", photos / "red.png", "--label", "red", "--label", "blue")
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert lines[1].startswith("  red   █")
    assert lines[1].endswith("%")


def test_collections_and_models_are_listed(server: RunningServer) -> None:
    assert diptych(server, "collections", "create", "brief").returncode == 0
    assert "brief" in diptych(server, "collections", "list").stdout
    assert diptych(server, "collections", "drop", "brief").stdout == "dropped brief\n"
    shown = diptych(server, "models").stdout
    assert "tiny" in shown
    assert "lanes: 1, batches of at most: 16 images or 16 texts, threads that decode: 1" in shown


def test_absent_server_is_one_line_with_a_hint(photos: Path) -> None:
    command = [sys.executable, "-m", "diptych", "models", "--url", "http://127.0.0.1:9"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.startswith("diptych: cannot reach http://127.0.0.1:9")
    assert "diptych serve" in done.stderr


def test_reader_that_leaves_early_is_not_an_error(server: RunningServer) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "diptych", "models", "--url", server.url]
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(command, check=False, stdout=pipe, stderr=subprocess.PIPE, timeout=120)
    assert done.returncode == READER_LEFT
    assert done.stderr == b""


def test_interrupt_ends_without_a_traceback(photos: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        command = [sys.executable, "-m", "diptych", "add", str(photos), "--collection", "pets", "--url", url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as adding:
            connection, _ = silent.accept()
            with connection:
                adding.send_signal(signal.SIGINT)
                printed = adding.communicate(timeout=120)
    assert adding.returncode == INTERRUPTED
    assert printed == (b"", b"")


def test_archive_is_added_and_its_job_is_shown(server: RunningServer, tmp_path: Path) -> None:
    archive = tmp_path / "photos.tar"
    archive.write_bytes(tar_of({"red.png": picture("red"), "broken.png": picture("green")[:60]}))
    added = diptych(server, "add", archive, "--collection", "tarred")
    assert added.stdout == "tarred: 1 created, 0 replaced, 0 unchanged, 1 failed\n"
    assert added.returncode == 1
    assert "failed: broken.png: " in added.stderr
    assert diptych(server, "jobs", "list").stdout.splitlines()[1].split()[1:3] == ["tarred", "done"]


def test_labels_are_put_corrected_exported_and_taken_back(
    server: RunningServer, tmp_path: Path, photos: Path
) -> None:
    def labels(*arguments: object) -> subprocess.CompletedProcess[str]:
        return diptych(server, "labels", *arguments, "--collection", "sorted")

    diptych(server, "add", photos / "red.png", photos / "more", "--collection", "sorted")
    (tmp_path / "labels.txt").write_text("red | crimson\n\nblue\n")
    assert labels("put", "kind", tmp_path / "labels.txt", "--templates", "plain").stdout == (
        "kind: 2 labels, revision 1\n"
    )
    assert labels("list").stdout.splitlines()[1].split(None, 3) == ["kind", "one", "2", "red, blue"]
    first, second = json.loads(labels("images", "kind", "--limit", 5, "--json").stdout)
    header, *proposed = labels("next", "kind").stdout.splitlines()
    assert header.split() == ["id", "proposed", "score", "margin", "none", "drawn"]
    assert {line.split()[0] for line in proposed} == {first["id"], second["id"]}
    said = labels("set", "kind", first["id"], *second["labels"], "--drawn")
    assert said.stdout == f"{first['id']}: {second['labels'][0]}\n"
    nothing = labels("set", "kind", first["id"], "--none")
    assert nothing.stdout == f"{first['id']}: none of the labels, was {second['labels'][0]} by anyone\n"
    assert labels("set", "kind", first["id"]).returncode == 2
    shown = labels("show", "kind").stdout.splitlines()
    assert shown[3].split() == ["(none)", "1"]
    assert "1 reviewed: the model agrees on 0 (0.00, 95% 0.00 to 0.79)" in shown[4]
    assert shown[5] == "1 of them drawn at random: it is right on 0 (0.00, 95% 0.00 to 0.79)"
    assert shown[6] == f"  1 of none proposed as {first['labels'][0]}"
    labels(
        "put", "sure", "--label", "red", "--label", "reds", "--templates", "plain", "--min-score", "0.9999"
    )
    labels("set", "sure", first["id"], "red", "--drawn")
    unlabelled = labels("show", "sure").stdout.splitlines()[4:6]
    assert unlabelled[0].endswith("1 reviewed, 1 of them have no label of the model")
    assert unlabelled[1] == "1 of them drawn at random, 1 of them have no label of the model"
    assert labels("export", "kind", tmp_path / "all.csv").stdout == f"{tmp_path / 'all.csv'}: 2 lines\n"
    assert (
        labels("export", "kind", tmp_path / "all.parquet").stdout == f"{tmp_path / 'all.parquet'}: 2 lines\n"
    )
    withdrawn = labels("set", "kind", first["id"], "--withdraw").stdout
    assert withdrawn == f"{first['id']}: none of the labels by anyone is withdrawn\n"
    for name in ("all.csv", "all.parquet"):
        taken = labels("import", "kind", tmp_path / name)
        assert taken.stdout == "kind: 1 stored, 0 of them in place of another, 1 of a model left out\n"
        assert "1 of them drawn at random" in labels("show", "kind").stdout
        assert labels("set", "kind", first["id"], "--withdraw").returncode == 0
    (tmp_path / "more.jsonl").write_text(
        json.dumps({"id": first["id"], "label": "red"}) + "\n" + json.dumps({"id": "no", "label": "red"})
    )
    labels("set", "kind", first["id"], "--none")
    partly = labels("import", "kind", tmp_path / "more.jsonl")
    assert (partly.returncode, partly.stderr) == (1, "not there: no\n")
    assert partly.stdout == "kind: 1 stored, 1 of them in place of another\n"
    (tmp_path / "unlike.csv").write_text(f"id,label\n{first['id']},red\n{second['id']},green\n")
    unlike = labels("import", "kind", tmp_path / "unlike.csv")
    assert (unlike.returncode, unlike.stdout) == (1, "")
    where = f"{tmp_path / 'unlike.csv'}:3: label set 'kind'"
    assert f"{where} has no label 'green', which image '{second['id']}' has: nothing" in unlike.stderr
    (tmp_path / "seen.csv").write_text(f"id,label,sha256\n{first['id']},red,{'0' * 64}\n")
    seen = labels("import", "kind", tmp_path / "seen.csv")
    assert (seen.returncode, seen.stdout) == (1, "kind: 0 stored, 0 of them in place of another\n")
    assert seen.stderr == f"left out, as the picture is another one now: {first['id']}\n"
    assert labels("drop", "kind").stdout == "kind is dropped\n"
    assert "no label set named 'kind'" in labels("show", "kind").stderr

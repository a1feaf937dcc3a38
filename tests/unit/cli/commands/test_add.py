"""`diptych add`: what it sends, what it says, and how it fails."""

import json
import os
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from diptych.cli import INTERRUPTED
from diptych.cli.commands import add
from diptych.core.collections.metadata.reserved import file_path
from diptych.core.collections.stored.ids import IMAGE_ID
from support.command_line import RunCommand, command_runner
from support.fake_api import PETS, FakeApi, add_reply, parts, problem

IMAGES = "POST /collections/pets/images"
LOOKUPS = "POST /collections/pets/lookups"
NOON_S, NOON = 1_772_366_400.5, "2026-03-01T12:00:00Z"


@pytest.fixture
def api() -> FakeApi:
    known = httpx.Response(200, json=PETS)
    api = FakeApi().on("GET /collections/pets", known).on("POST /collections", known)
    return api.on(LOOKUPS, httpx.Response(200, json={"images": []})).on(IMAGES, add_reply)


@pytest.fixture
def run(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> RunCommand:
    monkeypatch.setenv("DIPTYCH_DEFAULT_COLLECTION", "pets")
    return command_runner(add, api, monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """cat.png, dog.JPG, deep/fox.webp; and notes, a hidden file, a hidden folder."""
    root = tmp_path / "photos"
    for name in ["cat.png", "dog.JPG", "deep/fox.webp", "notes.txt", "._cat.png", ".trash/old.png"]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
        os.utime(root / name, (NOON_S, NOON_S))
    return root


def sent_images(api: FakeApi) -> list[str]:
    requests = [request for request in api.requests if request.url.path.endswith("/images")]
    return [content.decode() for r in requests for name, content in parts(r) if name == "image"]


def sent_items(api: FakeApi) -> list[dict[str, object]]:
    items: list[dict[str, object]] = json.loads(dict(parts(api.requests[-1]))["items"])
    return items


def test_image_files_of_a_folder_are_added_and_counted(
    run: RunCommand, api: FakeApi, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder) == 0
    assert sorted(sent_images(api)) == ["cat.png", "deep/fox.webp", "dog.JPG"]
    assert capsys.readouterr().out == "pets: 3 created, 0 replaced, 0 unchanged, 0 failed\n"
    run(folder, "--no-recursive")
    assert sorted(sent_images(api)[3:]) == ["cat.png", "dog.JPG"]


def test_metadata_has_the_place_and_time_of_the_file(run: RunCommand, api: FakeApi, folder: Path) -> None:
    run(folder, folder / "notes.txt")
    assert [item["metadata"] for item in sent_items(api)] == [
        {"file": {"name": "cat.png", "folder": ".", "modified": NOON}},
        {"file": {"name": "dog.JPG", "folder": ".", "modified": NOON}},
        {"file": {"name": "fox.webp", "folder": "deep", "modified": NOON}},
        {"file": {"name": "notes.txt", "folder": ".", "modified": NOON}},
    ]


def test_named_file_is_sent_whatever_its_suffix_and_only_once(
    run: RunCommand, api: FakeApi, folder: Path
) -> None:
    run(folder / "notes.txt", folder, folder / "cat.png")
    assert sorted(sent_images(api)) == ["cat.png", "deep/fox.webp", "dog.JPG", "notes.txt"]


def ids_of_names(run: RunCommand, api: FakeApi, folder: Path, *names: str) -> list[str]:
    """The ids that files of these names are sent with."""
    folder.mkdir()
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    assert run(folder, "--id-from", "name") == 0
    found = {file_path(item["metadata"]): item["id"] for item in sent_items(api)}  # type: ignore[arg-type]
    return [str(found[name]) for name in names]


def test_names_with_characters_that_ids_lack_get_an_id_each(
    run: RunCommand, api: FakeApi, tmp_path: Path
) -> None:
    long = "x" * 100
    names = [
        *("c d.png", "c-d.png", "c+d.png", "猫.png", "犬.png", "ä.png", "ö.png", "s/t.png", "s~t.png"),
        *(f"{letter * 100}/{long}.png" for letter in "ab"),
    ]
    ids = ids_of_names(run, api, tmp_path / "photos", *names)
    assert len(set(ids)) == len(names)
    assert all(IMAGE_ID.fullmatch(id) for id in ids)
    assert (ids[1], ids[7]) == ("c-d.png", "s~t.png")
    assert ids[3] == f"-.png-{sha256('猫.png'.encode()).hexdigest()[:12]}"


def test_two_files_with_one_id_are_refused_before_anything_is_sent(
    run: RunCommand, api: FakeApi, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [{"file": name, "id": "tom"} for name in ("cat.png", "dog.JPG")]
    items = folder / "items.jsonl"
    items.write_text("\n".join(map(json.dumps, lines)))
    assert run(folder, "--metadata", items) == 1
    assert "dog.JPG: gets the id 'tom', which cat.png also gets" in capsys.readouterr().err
    assert api.requests == []


def test_metadata_file_gives_ids_and_metadata(run: RunCommand, api: FakeApi, folder: Path) -> None:
    lines = [{"file": "cat.png", "id": "tom", "metadata": {"age": 3}}, {"file": "deep/fox.webp"}]
    items = folder / "items.jsonl"
    items.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    run(folder, "--metadata", items)
    file = {"name": "cat.png", "folder": ".", "modified": NOON}
    assert sent_items(api)[0] == {"id": "tom", "metadata": {"file": file, "age": 3}}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "items.jsonl:2: is not JSON"),
        ('{"file": "a", "tags": 1}', "items.jsonl:2: has unknown keys ['tags']"),
        (
            '{"file": "a", "metadata": {"file": {}}}',
            "items.jsonl:2: metadata has the name 'file', which is reserved",
        ),
    ],
)
def test_bad_line_of_the_metadata_file_is_named(
    run: RunCommand, folder: Path, capsys: pytest.CaptureFixture[str], line: str, complaint: str
) -> None:
    items = folder / "items.jsonl"
    items.write_text('{"file": "cat.png"}\n' + line)
    assert run(folder, "--metadata", items) == 1
    assert complaint in capsys.readouterr().err


def test_failures_are_listed_with_their_reason_and_the_rest_is_added(
    run: RunCommand, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "cat.png").write_text("bad bytes")
    assert run(folder) == 1
    printed = capsys.readouterr()
    assert f"failed: {folder / 'cat.png'}: no decoder (HTTP 415)" in printed.err
    assert printed.out == "pets: 2 created, 0 replaced, 0 unchanged, 1 failed\n"
    assert run(folder, "--json") == 1
    summary = json.loads(capsys.readouterr().out)
    assert (summary["created"], summary["failed"], summary["not_tried"]) == (2, 1, 0)
    assert summary["failures"] == [{"file": str(folder / "cat.png"), "error": "no decoder (HTTP 415)"}]


def test_broken_connection_or_interrupt_still_prints_the_summary(
    run: RunCommand, api: FakeApi, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.on(IMAGES, problem(500, "disk is full"))
    assert run(folder) == 1
    printed = capsys.readouterr()
    assert printed.out == "pets: 0 created, 0 replaced, 0 unchanged, 0 failed, 3 not tried\n"
    assert printed.err.endswith("diptych: disk is full (HTTP 500)\n")

    def interrupt(_: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    api.on(IMAGES, interrupt)
    assert run(folder) == INTERRUPTED
    assert capsys.readouterr().out.endswith(", 3 not tried\n")


def test_missing_collection_is_created(run: RunCommand, api: FakeApi, folder: Path) -> None:
    api.on("GET /collections/pets", problem(404, "no such collection"))
    assert run(folder) == 0
    assert api.calls() == ["GET /collections/pets", "POST /collections", LOOKUPS, IMAGES]


def test_folder_without_images_is_an_error(
    run: RunCommand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path) == 1
    assert capsys.readouterr().err == f"diptych: no image files in {tmp_path}\n"


def test_file_whose_name_is_not_unicode_is_added(run: RunCommand, api: FakeApi, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.png")).write_text("cat")
    assert run(tmp_path) == 0
    [item] = sent_items(api)
    assert file_path(item["metadata"]) == "caf\ufffd.png"  # type: ignore[arg-type]


def record_of(content: str, **changes: object) -> dict[str, object]:
    """What the server says of an image that it has."""
    digits = sha256(content.encode()).hexdigest()
    sizes = {"n_bytes": 1, "width": 1, "height": 1, "media_type": "image/png"}
    known = {"id": digits[:32], "collection": "pets", "sha256": digits, "created_at": "", "metadata": {}}
    return known | sizes | changes


def test_images_that_the_server_has_are_not_sent(
    run: RunCommand, api: FakeApi, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = [record_of("cat.png"), record_of("dog.JPG", sha256="0" * 64)]
    api.on(LOOKUPS, httpx.Response(200, json={"images": there}))
    assert run(folder) == 0
    assert sorted(sent_images(api)) == ["deep/fox.webp", "dog.JPG"]
    assert capsys.readouterr().out == "pets: 2 created, 0 replaced, 1 unchanged, 0 failed\n"


def test_everything_is_sent_on_request_and_changed_metadata_is_replaced(
    run: RunCommand, api: FakeApi, folder: Path
) -> None:
    file = {"name": "dog.JPG", "folder": ".", "modified": NOON}
    there = [record_of("cat.png"), record_of("dog.JPG", metadata={"file": file})]
    api.on(LOOKUPS, httpx.Response(200, json={"images": there}))
    assert run(folder, "--replace") == 0
    assert sorted(sent_images(api)) == ["cat.png", "deep/fox.webp"]
    api.requests.clear()
    assert run(folder, "--send-all") == 0
    assert len(sent_images(api)) == 3
    assert LOOKUPS not in api.calls()


def test_other_metadata_of_images_that_are_there_is_counted(
    run: RunCommand, api: FakeApi, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [{"file": name, "metadata": {"age": 3}} for name in ("cat.png", "dog.JPG", "deep/fox.webp")]
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, lines)))
    there = [
        record_of("cat.png", metadata={"file": "cat.png", "age": 2}),
        record_of("dog.JPG", metadata={"file": "other.png", "age": 3, "tag": "added since"}),
        record_of("deep/fox.webp"),
    ]
    api.on(LOOKUPS, httpx.Response(200, json={"images": there}))
    assert run(folder) == 0
    assert capsys.readouterr().err == ""
    assert run(folder, "--metadata", folder / "items.jsonl") == 0
    printed = capsys.readouterr()
    assert printed.out == "pets: 0 created, 0 replaced, 3 unchanged, 0 failed\n"
    assert printed.err == "note: metadata of 2 images differs from what was given: --replace stores it\n"
    run(folder, "--metadata", folder / "items.jsonl", "--json")
    assert json.loads(capsys.readouterr().out)["metadata_differs"] == 2
    assert sent_images(api) == []


JOB = {
    "id": "j1", "collection": "pets", "replace": False, "state": "done", "n_items": 2, "n_done": 2,
    "counts": {"created": 1, "failed": 1}, "created_at": "x", "finished_at": "y", "reason": "",
}  # fmt: skip


def test_archive_is_streamed_and_its_job_followed(
    run: RunCommand, api: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "photos.tar"
    archive.write_bytes(b"tar" * 100_000)
    error = {"title": "Unsupported image", "status": 415, "detail": "no decoder"}
    outcomes = [
        {"index": 0, "id": "a", "status": "created", "error": None, "file": "a.png"},
        {"index": 1, "id": None, "status": "failed", "error": error, "file": "b.txt"},
    ]
    api.on(IMAGES, httpx.Response(202, json=JOB | {"state": "queued", "finished_at": None}))
    api.on(
        "GET /jobs/j1/outcomes", httpx.Response(200, json={"job": JOB, "outcomes": outcomes, "next": None})
    )
    assert run(archive) == 1
    sent = next(request for request in api.requests if request.url.path.endswith("/images"))
    assert (sent.headers["content-type"], sent.content) == ("application/x-tar", archive.read_bytes())
    assert sent.headers["content-length"] == "300000"
    printed = capsys.readouterr()
    assert printed.out == "pets: 1 created, 0 replaced, 0 unchanged, 1 failed\n"
    assert "failed: b.txt: no decoder (HTTP 415)" in printed.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["{0}", "{1}"], "an archive must be the only path"),
        (["{1}", "--id-from", "name"], "an archive must be the only path"),
        (["--watch", "--replace", "{0}"], "leave out --replace, --send-all, --id-from and --metadata"),
        (["--watch", "--poll-s", "0", "{0}"], "must be a number of seconds above 0"),
        (["--watch", "{0}", "{0}"], "--watch needs exactly one folder"),
        (["--watch", "{0}/cat.png"], "--watch needs exactly one folder"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(
    run: RunCommand,
    api: FakeApi,
    folder: Path,
    arguments: list[str],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    archive = folder.parent / "a.tar"
    archive.touch()
    with pytest.raises(SystemExit, match="2"):
        run(*(one.format(folder, archive) for one in arguments))
    assert complaint in capsys.readouterr().err
    assert IMAGES not in api.calls()


def test_watch_ends_at_an_error_that_waiting_does_not_mend(
    run: RunCommand, api: FakeApi, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.on("GET /collections/pets", problem(403, "a key with scope write is needed"))
    assert run("--watch", folder) == 1
    assert "a key with scope write is needed" in capsys.readouterr().err

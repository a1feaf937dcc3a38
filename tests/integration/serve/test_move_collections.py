"""All collections moved from SQLite to PostgreSQL and back: the same answers, and what differs is said."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from diptych.cli import main
from diptych_client import Client, CollectionInfo
from support.fixtures import model_repo_fixture
from support.object_store import Store
from support.pictures import encoded, noise, picture
from support.postgres import Cluster
from support.server import serve
from support.several_servers import Common
from support.tiny_bundle import TINY

model_repo = model_repo_fixture({})


@pytest.fixture
def common(object_store: Store, model_repo: Path, postgres_cluster: Cluster, tmp_path: Path) -> Common:
    """A PostgreSQL database with originals in a bucket."""
    bucket = f"s3://{object_store.bucket()}/pictures"
    return Common(model_repo, postgres_cluster.url(), tmp_path, bucket, object_store.environment)


def fill(url: str) -> None:
    """Make collections of all kinds, with label sets and verdicts."""
    with Client(url) as client:
        client.create_collection("pets", text_fields=["caption", "file.name"])
        metadata = [
            {"caption": "ein Käse", "n": 2**53 + 1, "deep": {"x": [1.5, None, "\u2028"]}},
            {},
            {"n": -0.5},
        ]
        added = client.add(
            [picture("red"), picture("blue"), noise(3)],
            collection="pets",
            ids=["a", "b-2", "n"],
            metadata=metadata,
        )
        added = [*added, *client.add([picture("red"), dated()], collection="pets", ids=["twin", "dated"])]
        assert [one.status for one in added] == ["created"] * 5, added
        client.put_label_set("pets", "kind", ["red", "blue"], min_score=0.1, templates=["a photo of {}"])
        client.put_label_set("pets", "many", ["warm", "cold"], kind="many")
        client.give_verdicts("pets", "kind", {"a": "blue", "n": None}, drawn={"n"})
        client.give_verdicts("pets", "many", {"b-2": ["warm", "cold"]})
        client.create_collection("bare", keep="none")
        client.add([noise(5)], collection="bare", ids=["x"])
        made = client.embed(texts=["red", "blue", "cat"])
        client.create_collection("vectors")
        client.add_vectors(
            list(made.text_matrix()), model=made.model, collection="vectors", ids=["u", "v", "w"]
        )
        client.create_collection("empty", keep="none", text_fields=["caption"])


def dated() -> bytes:
    """A picture whose EXIF says when it was taken."""
    exif = Image.Exif()
    exif[0x0132] = "2024:05:01 10:11:12"
    return encoded(Image.new("RGB", (20, 20)), "JPEG", exif=exif)


def answers(url: str) -> dict[str, Any]:
    """What clients see, but for times and the sha256 of an image whose file is not kept."""
    with Client(url) as client, httpx.Client(base_url=url, timeout=30) as raw:
        return {one.name: answers_of(client, raw, one) for one in client.collections()}


def answers_of(client: Client, raw: httpx.Client, one: CollectionInfo) -> list[Any]:
    images = client.list_images(one.name).images
    words = raw.get("/search", params={"q": "Käse", "match": "words", "collection": one.name}).json()
    label_sets = client.label_sets(one.name)
    exports = [client.export_labels(one.name, label_set.name).splitlines() for label_set in label_sets]
    return [
        (one.keep, one.text_fields, one.n_images, one.n_kept),
        [(image.id, image.kept, image.kept and image.sha256, image.metadata) for image in images],
        sorted((hit.id, hit.cosine) for hit in client.search("red", collection=one.name, k=10).hits),
        [client.original(one.name, image.id) for image in images if image.kept],
        words["hits"],
        [(one.name, one.labels, one.kind, one.templates, one.min_score) for one in label_sets],
        [
            [(line["id"], line["labels"], line["by"], line["drawn"]) for line in map(json.loads, export)]
            for export in exports
        ],
    ]


def diptych(*arguments: str | Path) -> int:
    return main(["collections", *map(str, arguments)])


def moved(folder: Path, url: str, *source: str | Path) -> None:
    """Export all collections, and import them into a server."""
    assert diptych("export", "*", folder, "--with-images", *source) == 0
    assert diptych("import", folder, "--url", url) == 0


def test_moved_to_postgres_and_back_collections_hold_the_same_answers(
    common: Common, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    repo = ("--model-repo", common.model_repo)
    with serve(common.model_repo, TINY, tmp_path / "sqlite") as first:
        fill(first.url)
        expected = answers(first.url)
        with common.replica("postgres") as postgres:
            url = postgres.server.url
            moved(tmp_path / "there", url, "--data-dir", tmp_path / "sqlite", *repo)
            assert answers(url) == expected
            assert "pets: 5 images, 5 files, with vectors of tiny/1" in (said := capsys.readouterr().out)
            assert "pets: 5 created, 0 replaced, 0 unchanged, 0 failed, label sets: 2, verdicts: 3" in said
            assert diptych("import", tmp_path / "there", "--url", url) == 0  # as after an interrupt
            assert "pets: 0 created, 0 replaced, 5 unchanged" in capsys.readouterr().out
            monkeypatch.setenv("DIPTYCH_STORE", common.url)
            monkeypatch.setenv("DIPTYCH_ORIGINALS", common.bucket or "")
            with serve(common.model_repo, TINY, tmp_path / "again") as again:
                moved(tmp_path / "back", again.url, "--data-dir", tmp_path / "none", *repo)
                assert answers(again.url) == expected
    digests = [
        [
            one["digest"]
            for one in json.loads((tmp_path / way / "collections.json").read_text())["collections"]
        ]
        for way in ("there", "back")
    ]
    assert digests[0] == digests[1]


def test_what_a_server_has_otherwise_than_the_export_is_said(
    model_repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        serve(model_repo, TINY, tmp_path / "one") as one,
        serve(model_repo, TINY, tmp_path / "other") as other,
    ):
        fill(one.url)
        moved(tmp_path / "all", other.url, "--data-dir", tmp_path / "one", "--model-repo", model_repo)
        with Client(other.url) as client:
            client.patch_image("pets", "a", {"caption": "another"})
            client.add([noise(8)], collection="bare", ids=["more"])
        capsys.readouterr()
        assert diptych("import", tmp_path / "all", "--url", other.url) == 1
        err = capsys.readouterr().err
        assert "pets differs from the export: ids, contents or metadata are others" in err
        assert "bare differs from the export: it has 2 images, the export 1" in err
        assert "vectors differs" not in err


def test_folder_of_an_export_is_whole_and_has_not_the_flags_of_a_file(
    model_repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(model_repo, TINY, tmp_path / "data") as server:
        source = ("--data-dir", tmp_path / "data", "--model-repo", model_repo)
        folder = tmp_path / "all"
        assert diptych("export", "*", folder, *source) == 0
        assert diptych("export", "*", folder, *source) == 1
        assert "name a new or an empty folder" in capsys.readouterr().err
        for arguments in (
            ("export", "*", tmp_path / "new", "--precision", "fp32", *source),
            ("import", folder, "--into", "pets", "--url", server.url),
        ):
            with pytest.raises(SystemExit):
                diptych(*arguments)
        (folder / "collections.json").unlink()
        assert diptych("import", folder, "--url", server.url) != 0
        assert "has no collections.json" in capsys.readouterr().err


def test_export_with_a_store_takes_no_other_database_for_it(
    common: Common, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(common.model_repo, TINY, tmp_path / "sqlite"):
        monkeypatch.setenv("DIPTYCH_STORE", common.url)
        assert diptych("export", "*", tmp_path / "all", "--data-dir", tmp_path / "sqlite") != 0
    assert "has a database of its own, and DIPTYCH_STORE names another one" in capsys.readouterr().err
    assert not (tmp_path / "all").exists()


def test_export_of_a_database_asks_for_its_own_originals(
    common: Common, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with common.replica("postgres"):
        monkeypatch.setenv("DIPTYCH_STORE", common.url)
        assert diptych("export", "*", tmp_path / "all", "--data-dir", tmp_path / "none") != 0
        assert "does not have the originals of the database" in capsys.readouterr().err

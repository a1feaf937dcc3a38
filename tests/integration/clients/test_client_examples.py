"""The examples in the docstrings of the Python client's calls do what they say."""

import doctest
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import diptych_client
from diptych_client import AsyncClient, Client, Embeddings
from support.pictures import noise, picture
from support.server import RunningServer, serve
from support.tars import tar_of
from support.tiny_bundle import TINY, add_files, write_tiny_bundle

KEY = "a key of tests"
OTHERS = {"run", "close"}
CALLS = [name for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")]
CALLS = sorted({*CALLS} - OTHERS, key=lambda name: (name == "push_model", name))  # which leaves a model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files that the examples name."""
    folder = tmp_path_factory.mktemp("examples")
    write_tiny_bundle(folder / "model_repo")
    card = {"MODEL_CARD.md": b"# tiny\n\n![A figure](figure.png)\n", "figure.png": picture("red")}
    add_files(folder / "model_repo" / TINY / "1", card)
    for name, payload in {"cat": picture("red"), "dog": picture("blue")}.items():
        (folder / f"{name}.png").write_bytes(payload)
    (folder / "photos.tar").write_bytes(tar_of({"one.png": noise(1), "two.png": noise(2)}))
    (folder / "album").mkdir()
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    album = f"album={folder / 'album'}"
    with serve(folder / "model_repo", TINY, folder / "data", "--api-key", KEY, "--library", album) as server:
        yield server


@pytest.fixture
def client(server: RunningServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """Yield a client of a server with the collection `pets`, and nothing that other examples have left."""
    monkeypatch.chdir(folder)
    with Client(server.url, KEY) as client:
        for job in client.jobs():
            client.follow_job(job.id)
        made = client.keys()
        for key in made:
            client.revoke_key(key.prefix)
        for collection in client.collections():
            if collection.name not in {"default", "album"}:
                client.drop_collection(collection.name)
        client.create_collection("pets")
        metadata = [{"kind": "cat"}, {"kind": "dog"}]
        client.add([noise(3), noise(4)], ids=["tom", "rex"], metadata=metadata, collection="pets")
        yield client


def check(documented: object, name: str, client: Client) -> None:
    text = inspect.getdoc(documented) or ""
    found = doctest.DocTestParser().get_doctest(
        text, {**vars(diptych_client), "client": client}, name, None, 0
    )
    assert found.examples, f"{name} has no example"
    said: list[str] = []
    doctest.DocTestRunner().run(found, out=said.append)
    assert "".join(said) == ""


@pytest.mark.parametrize("name", CALLS)
def test_example_of_a_call_does_what_it_says(client: Client, name: str) -> None:
    check(getattr(Client, name), name, client)
    assert getattr(AsyncClient, name).__doc__ == getattr(Client, name).__doc__


@pytest.mark.parametrize("kind", [Client, AsyncClient, Embeddings])
def test_example_of_a_class_does_what_it_says(client: Client, kind: type) -> None:
    check(kind, kind.__name__, client)

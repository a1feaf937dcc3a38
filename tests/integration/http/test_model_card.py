"""The card of a model version and its figures."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from diptych.bundle.card import MAX_CARD_BYTES
from support.app import running_app
from support.pictures import picture
from support.tiny_bundle import TINY, add_files, write_tiny_bundle

CARD = b"# tiny\n\n![A figure](figure.png), see [the data](DATA_CARD.md). \xc3\xbc\n"
FILES = {
    "MODEL_CARD.md": CARD,
    "README.md": b"another",
    "DATA_CARD.md": b"# data\n",
    "figure.png": picture("red"),
    "script.svg": b"<svg/>",
}
PATH = f"/models/{TINY}/versions/1/card"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with a version that has a card, one with a README, and three without either."""
    folder = tmp_path_factory.mktemp("cards")
    for _ in range(5):
        write_tiny_bundle(folder / "model_repo")
    add_files(folder / "model_repo" / TINY / "1", FILES)
    add_files(folder / "model_repo" / TINY / "2", {"README.md": b"readme"})
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with running_app(folder) as client:
        yield client


def test_card_is_markdown_and_shows_its_figures(client: TestClient) -> None:
    card = client.get(PATH)
    assert (card.content, card.headers["content-type"]) == (CARD, "text/markdown; charset=utf-8")
    figure = client.get(f"{PATH}/figure.png")
    assert (figure.content, figure.headers["content-type"]) == (FILES["figure.png"], "image/png")
    assert "sandbox" in figure.headers["content-security-policy"]
    assert client.get(f"{PATH}/DATA_CARD.md").content == FILES["DATA_CARD.md"]
    assert client.get(PATH.replace("1", "2")).content == b"readme"
    for answer in (card, figure):
        again = client.get(answer.request.url.path, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/models/{TINY}/versions/3/card", 404),
        (f"/models/{TINY}/versions/one/card", 422),
        (f"{PATH}/absent.png", 404),
        (f"{PATH}/manifest.json", 404),
        (f"{PATH}/script.svg", 404),
        (f"{PATH}/..%2F1%2Ffigure.png", 404),
        (f"{PATH}/figure.png%00", 404),
    ],
)
def test_what_is_no_card_or_figure_is_not_shown(client: TestClient, path: str, status: int) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_damaged_and_large_files_are_refused(client: TestClient, folder: Path) -> None:
    bundle = folder / "model_repo" / TINY / "3"
    add_files(bundle, {"large.png": bytes(MAX_CARD_BYTES + 1), "changed.png": b"1", "gone.png": b"1"})
    (bundle / "changed.png").write_bytes(b"2")
    (bundle / "gone.png").unlink()
    path = f"/models/{TINY}/versions/3/card"
    assert client.get(f"{path}/large.png").status_code == 413
    for name, reason in (
        ("changed", "its sha256 is not that of the manifest"),
        ("gone", "cannot be read: No such file or directory"),
    ):
        answer = client.get(f"{path}/{name}.png")
        assert (answer.status_code, answer.json()["detail"]) == (409, f"{TINY}/3/{name}.png: {reason}")


def test_version_with_a_broken_manifest_says_what_is_wrong(client: TestClient, folder: Path) -> None:
    reason = "schema_version 99 is newer than 3, the newest this diptych reads"
    (folder / "model_repo" / TINY / "4" / "manifest.json").write_bytes(b'{"schema_version": 99}')
    path = f"/models/{TINY}/versions/4/card"
    for answer in (client.get(path), client.get(f"{path}/figure.png")):
        assert (answer.status_code, answer.headers["content-type"]) == (409, "application/problem+json")
        assert answer.json()["detail"] == f"{TINY}/4/manifest.json: {reason}"

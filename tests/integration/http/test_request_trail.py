"""One request's id and times, from its answer's headers to every line that is logged for it."""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from diptych.cli.process.logs import JsonLines
from support.app import running_app
from support.image_requests import add_images, files_of
from support.pictures import noise, picture
from support.server import serve
from support.tiny_bundle import TINY, write_tiny_bundle

WORDS = "unmistakable private words"
NAME = "unmistakable-file-name.png"
TIMING = re.compile(r"([a-z]+);dur=([0-9.]+)")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with running_app(tmp_path_factory.mktemp("trail")) as client:
        add_images(client, "/collections/default/images", picture("red"))
        yield client


def times(answer: httpx.Response) -> dict[str, float]:
    return {name: float(ms) for name, ms in TIMING.findall(answer.headers["server-timing"])}


CASES: list[tuple[str, str, dict[str, Any], set[str]]] = [
    (
        "POST",
        "/embed",
        {"files": files_of([noise(1), noise(2)])},
        {"parse", "decode", "queue", "encode", "serialise"},
    ),
    (
        "GET",
        '/search?q=red&filter={"n": 1}',
        {},
        {"parse", "queue", "encode", "search", "filter", "index", "metadata", "serialise"},
    ),
    (
        "POST",
        "/classify",
        {"files": [*files_of([noise(4)]), ("labels", (None, "x"))]},
        {"parse", "decode", "queue", "encode", "serialise"},
    ),
    ("GET", "/healthz", {}, {"serialise"}),
]


@pytest.mark.parametrize(("method", "path", "given", "stages"), CASES)
def test_server_timing_has_the_stages_that_the_request_went_through(
    client: TestClient, method: str, path: str, given: dict[str, Any], stages: set[str]
) -> None:
    answer = client.request(method, path, **given)
    assert answer.status_code == 200
    spent = times(answer)
    assert set(spent) - {"work"} == stages | {"total"}
    assert all(ms <= spent["total"] for ms in spent.values())


def test_the_log_has_the_same_times(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "diptych.access"):
        answer = client.post("/embed", files=files_of([noise(6)]), headers={"X-Request-Id": "mine"})
    (fields,) = [record.__dict__["fields"] for record in caplog.records if record.name == "diptych.access"]
    assert (fields["route"], fields["status"], fields["request_id"]) == ("/embed", 200, "mine")
    spent = times(answer)
    for stage in ("parse", "decode", "queue", "encode", "serialise"):
        assert fields[f"{stage}_ms"] == spent[stage]


def test_error_names_an_image_without_its_file_and_the_log_does_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place, id = "/collections/default/images", "unmistakable-id"
    with running_app(tmp_path) as client:
        add_images(client, place, noise(1), items=[{"id": id}]).raise_for_status()
        sha256 = client.get(f"{place}/{id}").json()["sha256"]
        (tmp_path / "data" / "images" / sha256[:2] / sha256).unlink()
        answer = client.get(f"{place}/{id}/original")
        assert (answer.status_code, answer.json()["type"].endswith("corrupt-store")) == (500, True)
        assert sha256 in answer.json()["detail"]
    logged = [JsonLines().format(record) for record in caplog.records]
    told = [line for line in logged if "request failed" in line]
    assert answer.json()["request_id"] in told[0]
    assert "the file of an image is missing" in told[0]
    assert not [line for line in logged if id in line or sha256[:12] in line or "exception" in line]


def test_log_lines_of_a_request_share_its_id_and_nothing_private(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "repo", precisions={"fp32": "faulty"})
    sent: list[httpx.Response] = []
    with (
        serve(tmp_path / "repo", TINY, tmp_path / "data") as server,
        httpx.Client(base_url=server.url) as client,
    ):
        parts: list[Any] = [("image", (NAME, picture("red"))), ("labels", (None, WORDS))]
        sent.append(client.post("/classify", files=parts))
        sent.append(client.get("/search", params={"q": WORDS, "filter": "{"}))
        sent.append(client.get("/search", params={"q": WORDS}))
        sent.append(client.get(f"/{WORDS}"))
        sent.append(client.post("/embed", json={"input": [{"text": WORDS}, {"image": WORDS}]}))
        sent.append(client.post("/embed", content=b"", headers={"Content-Type": f"x/{NAME}"}))
        images = "/collections/default/images"
        items = json.dumps([{"id": NAME, "metadata": {"about": WORDS}}])
        sent.append(client.post(images, files=[("image", (NAME, noise(1))), ("items", (None, items))]))
        sent.append(client.get(f"{images}/{NAME}/thumbnail"))
        assert client.request(WORDS.split(maxsplit=1)[0].upper(), "/embed").status_code == 400
    assert "unmistakable" not in server.log_file.read_text().lower()
    lines = [line for line in server.log() if line["logger"] == "diptych.access"]
    ids = [answer.headers["x-request-id"] for answer in sent]
    assert [line["request_id"] for line in lines] == ids
    for answer in sent:
        if answer.headers["content-type"] == "application/problem+json":
            assert answer.json()["request_id"] == answer.headers["x-request-id"]

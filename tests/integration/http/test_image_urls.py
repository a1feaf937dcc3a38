"""Image URLs as callers of the API see them: on, with an internet of the tests' own, and off."""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from fastapi.testclient import TestClient

from diptych.adapters.fetching.https_fetcher import FetchLimits, HttpsFetcher
from diptych.core.fetching.host_rules import HostRules
from diptych.core.fetching.image_urls import ImageUrls
from diptych.core.services import Services
from support.app import running_app
from support.image_host import ADDRESS, NAME, RED, ImageHost
from support.image_requests import add_images, data_uri
from support.own_internet import Names, Wires
from support.pictures import picture
from support.tiny_bundle import TINY

RED_URL = f"https://{NAME}/red.png"
MAX_BYTES = 20_000


def with_own_internet(host: ImageHost) -> Any:
    def change(services: Services) -> Services:
        fetcher = HttpsFetcher(
            HostRules(),
            FetchLimits(MAX_BYTES, 10.0),
            resolve=Names({NAME: [[ADDRESS]], "inside.example": [["10.0.0.1"]]}),
            network=Wires(host.port),
            tls=host.tls,
        )
        urls = ImageUrls(fetcher, max_at_once=8, turn_s=10.0, total_s=10.0, metrics=services.metrics)
        return replace(services, image_urls=urls)

    return change


@pytest.fixture(scope="module")
def client(host: ImageHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    given = {"max_image_bytes": MAX_BYTES, "max_image_px": 10_000, "max_body_bytes": 30_000}
    folder = tmp_path_factory.mktemp("urls")
    with running_app(folder, change=with_own_internet(host), **given) as client:
        added = add_images(client, "/collections/default/images", RED)
        assert added.status_code == 200, added.text
        yield client


def test_embed_accepts_urls_with_the_same_result_as_their_bytes(client: TestClient) -> None:
    blue, text = {"image": data_uri(picture("blue"))}, {"text": "red"}
    by_url = client.post("/embed", json={"input": [text, {"image": RED_URL}, blue, {"image": RED_URL}]})
    by_bytes = client.post("/embed", json={"input": [text, {"image": data_uri(RED)}, blue]})
    assert by_url.status_code == by_bytes.status_code == 200, by_url.text
    rows = [np.array([row["embedding"] for row in answer.json()["data"]]) for answer in (by_url, by_bytes)]
    np.testing.assert_allclose(rows[0], rows[1][[0, 1, 2, 1]], atol=1e-6)


def test_classify_and_search_accept_urls(client: TestClient) -> None:
    body = {"images": [RED_URL, data_uri(picture("blue"))], "labels": ["red", "blue"]}
    answer = client.post("/classify", json=body)
    assert answer.status_code == 200, answer.text
    best = [image["predictions"][0]["label"] for image in answer.json()["data"]]
    assert best == ["red", "blue"]
    for query in ({"image": RED_URL}, [{"image": RED_URL}, {"text": "red", "weight": 0.5}]):
        answer = client.post("/search", json={"query": query})
        assert answer.status_code == 200, answer.text
        assert answer.json()["hits"][0]["cosine"] > 0.9


def test_other_products_shapes_accept_urls(client: TestClient) -> None:
    part = {"type": "image_url", "image_url": {"url": RED_URL}}
    bodies: list[dict[str, Any]] = [
        {"input": [{"image": RED_URL}]},
        {"input": [{"url": RED_URL}]},
        {"input": RED_URL, "modality": "image"},
        {"messages": [{"role": "user", "content": [part]}]},
        {"input": data_uri(RED)},
    ]
    answers = [client.post("/v1/embeddings", json={"model": TINY, **body}) for body in bodies]
    rows = [answer.json()["data"][0]["embedding"] for answer in answers]
    np.testing.assert_allclose(rows, [rows[-1]] * len(rows), atol=1e-6)
    body = {"inputs": RED_URL, "parameters": {"candidate_labels": ["blue", "red"]}}
    answer = client.post("/hf/zero-shot-image-classification", json=body)
    assert answer.json()[0]["label"] == "red"


@pytest.mark.parametrize(
    ("url", "status", "kind", "words"),
    [
        (f"http://{NAME}/red.png", 422, "invalid-value", "must begin with https://"),
        ("https://127.0.0.1/", 422, "invalid-value", "not public (loopback)"),
        ("https://inside.example/", 422, "unfetchable-image", "no address, or not only public ones"),
        (f"https://{NAME}/status/404", 422, "unfetchable-image", "answered 404"),
        (f"https://{NAME}/endless", 413, "too-large", "limit of 20000 bytes"),
        (f"https://{NAME}/large.png", 413, "too-large", "40000 pixels, limit is 10000"),
        (f"https://{NAME}/page", 415, "unsupported-image", "not an image"),
    ],
)
def test_image_that_cannot_be_fetched_fails_the_request_and_is_named(
    client: TestClient, url: str, status: int, kind: str, words: str
) -> None:
    asked = [
        ("/embed", {"input": [{"text": "a"}, {"image": url}]}, "input[1]"),
        ("/classify", {"images": [data_uri(RED), url], "labels": ["a"]}, "images[1]"),
        ("/search", {"query": [{"text": "a"}, {"image": url}]}, "query[1]"),
    ]
    for path, body, item in asked:
        answer = client.post(path, json=body)
        problem = answer.json()
        assert (answer.status_code, problem["item"]) == (status, item), problem
        assert problem["type"] == f"urn:diptych:error:{kind}"
        assert answer.headers["content-type"] == "application/problem+json"
        assert words in problem["detail"]
        assert "secret" not in answer.text
        assert NAME not in answer.text
    answer = client.post("/v1/embeddings", json={"model": TINY, "input": ["a", {"url": url}]})
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, "input[1]")
    body = {"inputs": url, "parameters": {"candidate_labels": ["a"]}}
    answer = client.post("/hf/zero-shot-image-classification", json=body)
    assert answer.status_code == status
    assert answer.json()["error"].startswith("inputs: ")
    assert NAME not in answer.text


def test_fetched_bytes_count_as_part_of_the_body(client: TestClient, host: ImageHost) -> None:
    urls = [{"image": f"https://{NAME}/noise/{n}"} for n in range(5)]  # 7 kB each
    assert client.post("/embed", json={"input": urls[:3]}).status_code == 200
    answer = client.post("/embed", json={"input": urls})
    assert answer.status_code == 413
    assert "over 30000 bytes together" in answer.json()["detail"]
    assert client.post("/embed", json={"input": urls[:3]}).status_code == 200  # and the room was given back


def test_unknown_collection_or_template_set_is_an_error_before_any_fetch(
    client: TestClient, host: ImageHost
) -> None:
    host.seen.clear()
    body = {"query": {"image": RED_URL}, "collection": "nowhere"}
    assert client.post("/search", json=body).status_code == 404
    body = {"images": [RED_URL], "labels": ["a"], "templates": "nowhere"}
    assert client.post("/classify", json=body).status_code == 422
    assert host.seen == []


def test_fetches_are_timed_and_urls_are_in_no_metric_and_no_log(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for url in (f"{RED_URL}?key=s3cret", f"https://{NAME}/status/404?key=s3cret"):
        client.post("/embed", json={"input": [{"image": url}]})
    metrics = client.get("/metrics").text
    assert 'diptych_stage_seconds_count{stage="fetch"}' in metrics
    lines = [str(vars(record)) for record in caplog.records if record.name.startswith("diptych")]
    assert len(lines) >= 3
    for text in (metrics, *lines):
        assert "s3cret" not in text
        assert NAME not in text


def test_disconnect_of_the_client_ends_the_fetch(client: TestClient, host: ImageHost) -> None:
    host.seen.clear()
    body = json.dumps({"input": [{"image": f"https://{NAME}/drip"}]}).encode()

    async def ask_and_hang_up() -> None:
        waiting: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if waiting:
                return waiting.pop()
            while "/drip" not in host.paths:  # noqa: ASYNC110 - another thread's list has no event
                await anyio.sleep(0.005)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            raise AssertionError("nobody is there")

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/embed",
            "query_string": b"",
            "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")],
        }
        await client.app(scope, receive, send)  # type: ignore[arg-type]
        while "/drip" not in host.left:  # noqa: ASYNC110 - another thread's list has no event
            await anyio.sleep(0.005)

    assert client.portal is not None
    client.portal.call(ask_and_hang_up)


def test_urls_are_disabled_by_default_with_a_clear_error(tmp_path: Path) -> None:
    with running_app(tmp_path) as client:
        for path, body in (
            ("/embed", {"input": [{"image": RED_URL}]}),
            ("/classify", {"images": [RED_URL], "labels": ["a"]}),
            ("/search", {"query": [{"image": RED_URL}]}),
        ):
            answer = client.post(path, json=body)
            assert answer.status_code == 422
            assert "image URLs are off on this server (DIPTYCH_IMAGE_URLS turns them on)" in answer.text
            assert answer.json()["item"].endswith("[0]")

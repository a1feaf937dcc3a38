"""What `/v1/embeddings` takes and refuses, on the tiny bundle."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from support.app import running_app
from support.fixtures import client_fixture
from support.image_requests import data_uri
from support.pictures import noise, picture
from support.tiny_bundle import EMBED_DIM, TINY

MAX_INPUTS = 2048  # OpenAI's own limit


client = client_fixture(max_items=2)


def embed(client: TestClient, given: object, **more: object) -> Response:
    return client.post("/v1/embeddings", json={"model": TINY, "input": given, **more})


@pytest.mark.parametrize(
    ("given", "item"),
    [
        (data_uri(picture("red")), "input"),
        (["red", data_uri(picture("red"))], "input[1]"),
        ([data_uri(noise(1, (300, 300)))], "input[0]"),  # longer than a text may be
        ("data:;base64,aGVsbG8=", "input"),
        ("DATA:image/svg+xml,%3Csvg/%3E", "input"),
        ({"image": data_uri(picture("red"))}, "input"),
        (["red", {"type": "image_url", "image_url": {"url": "https://a.example/cat.png"}}], "input[1]"),
    ],
)
def test_image_is_rejected_with_the_path_that_accepts_it(client: TestClient, given: Any, item: str) -> None:
    answer = embed(client, given)
    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    assert error["param"] == item
    assert "POST /embed" in error["message"]
    assert "iVBOR" not in error["message"]  # the file itself


@pytest.mark.parametrize("text", ["data: what a server keeps", "data:", "a data:image/png;base64, in words"])
def test_text_that_resembles_a_data_uri_is_a_text(client: TestClient, text: str) -> None:
    assert embed(client, text).status_code == 200


def test_input_limit_is_that_of_openai_even_with_a_small_queue(client: TestClient) -> None:
    texts = [f"text {n % 7}" for n in range(MAX_INPUTS)]
    answer = embed(client, texts)
    assert answer.status_code == 200, answer.text
    rows = answer.json()["data"]
    assert [row["index"] for row in rows] == list(range(MAX_INPUTS))
    alone = embed(client, texts[-1]).json()["data"][0]["embedding"]
    assert rows[-1]["embedding"] == pytest.approx(alone, abs=1e-5)
    refused = embed(client, [*texts, "one more"])
    assert refused.status_code == 413
    assert refused.json()["error"]["param"] == "input"
    assert str(MAX_INPUTS) in refused.json()["error"]["message"]


def test_limit_is_a_setting(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_app(tmp_path_factory.mktemp("openai"), max_openai_inputs=3) as client:
        assert embed(client, ["a"] * 3).status_code == 200
        assert embed(client, ["a"] * 4).status_code == 413


@pytest.mark.parametrize("dimensions", ["16.0", "1.6e1"])
def test_number_without_a_fraction_is_an_integer(client: TestClient, dimensions: str) -> None:
    assert EMBED_DIM == 16
    body = f'{{"model": "{TINY}", "input": "red", "dimensions": {dimensions}}}'
    answer = client.post("/v1/embeddings", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("dimensions", [16.5, "16", True, EMBED_DIM + 1.0])
def test_other_dimensions_are_rejected(client: TestClient, dimensions: object) -> None:
    answer = embed(client, "red", dimensions=dimensions)
    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == "dimensions"

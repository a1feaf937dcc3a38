"""`/embed` as callers see it, on the tiny bundle."""

import base64
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from support.app import running_app
from support.fixtures import client_fixture
from support.image_requests import data_uri
from support.pictures import noise, picture
from support.tiny_bundle import CONTEXT_LENGTH, EMBED_DIM

RED = picture("red")


client = client_fixture(max_items=4, max_image_bytes=20_000, max_body_bytes=200_000)


def embedded(client: TestClient, *items: dict[str, str]) -> np.ndarray:
    answer = client.post("/embed", json={"input": list(items)})
    assert answer.status_code == 200, answer.text
    return np.array([row["embedding"] for row in answer.json()["data"]], np.float32)


def test_text_and_image_lie_in_one_space(client: TestClient) -> None:
    red, blue, text = embedded(
        client, {"image": data_uri(RED)}, {"image": data_uri(picture("blue"))}, {"text": "red"}
    )
    assert text @ red > 0.9 > text @ blue
    np.testing.assert_allclose(np.linalg.norm([red, blue, text], axis=1), 1, atol=1e-5)


def test_fast_decoding_changes_large_jpegs_and_every_response_names_it(
    client: TestClient, tmp_path: Path
) -> None:
    large, as_png = noise(1, (120, 120), "JPEG"), data_uri(noise(1, (80, 80)))
    exact = embedded(client, {"image": data_uri(large)}, {"image": as_png})
    with running_app(tmp_path, decode="fast") as fast_client:
        fast = embedded(fast_client, {"image": data_uri(large)}, {"image": as_png})
        answer = fast_client.post("/embed", json={"input": [{"text": "a"}]})
        raw = fast_client.post(
            "/embed",
            content=b"a",
            headers={"Content-Type": "text/plain", "Accept": "application/octet-stream"},
        )
    assert answer.json()["model"]["decode"] == raw.headers["X-Diptych-Decode"] == "fast"
    assert not np.array_equal(fast[0], exact[0])
    np.testing.assert_array_equal(fast[1], exact[1])


def test_form_is_answered_in_the_order_of_its_parts(client: TestClient) -> None:
    form = [
        ("text", (None, "red")),
        ("image", ("a.png", RED)),
        ("text", (None, "blue")),
    ]
    rows = [row["embedding"] for row in client.post("/embed", files=form).json()["data"]]
    expected = embedded(client, {"text": "red"}, {"image": data_uri(RED)}, {"text": "blue"})
    np.testing.assert_allclose(rows, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("body", "content_type", "same_as"),
    [
        (RED, "image/png", {"image": data_uri(RED)}),
        ("grün".encode(), "text/plain; charset=utf-8", {"text": "grün"}),
    ],
)
def test_raw_body_is_one_item(
    client: TestClient, body: bytes, content_type: str, same_as: dict[str, str]
) -> None:
    answer = client.post("/embed", content=body, headers={"Content-Type": content_type}).json()
    np.testing.assert_allclose(answer["data"][0]["embedding"], embedded(client, same_as)[0], atol=1e-6)


def test_base64_and_octets_are_the_same_floats_as_json(client: TestClient) -> None:
    body = {"input": [{"text": "red"}, {"text": "a green field"}]}
    floats = embedded(client, *body["input"])
    encoded = client.post("/embed", json={**body, "encoding_format": "base64"}).json()["data"]
    octets = client.post("/embed", json=body, headers={"Accept": "application/octet-stream"})
    from_base64 = [np.frombuffer(base64.b64decode(row["embedding"]), "<f4") for row in encoded]
    np.testing.assert_array_equal(from_base64, floats)
    np.testing.assert_array_equal(np.frombuffer(octets.content, "<f4").reshape(2, EMBED_DIM), floats)
    assert octets.headers["x-diptych-shape"] == f"2,{EMBED_DIM}"
    assert (octets.headers["x-diptych-model"], octets.headers["x-diptych-version"]) == ("tiny", "1")
    assert "x-diptych-truncated" not in octets.headers
    body = {"input": [{"text": "red"}, {"text": "x" * 10 * CONTEXT_LENGTH}]}
    answer = client.post("/embed", json=body).json()
    assert [(row["index"], row["truncated"]) for row in answer["data"]] == [(0, False), (1, True)]
    assert answer["model"] == {"name": "tiny", "version": 1, "precision": "fp32", "decode": "exact"}
    octets = client.post("/embed", json=body, headers={"Accept": "application/octet-stream"})
    assert octets.headers["x-diptych-truncated"] == "1"


GOOD = {"text": "fine"}


@pytest.mark.parametrize(
    ("item", "status", "words"),
    [
        ({"image": data_uri(RED[:60])}, 422, "PNG"),
        ({"image": data_uri(b"not an image at all")}, 415, ""),
        ({"image": "https://example.org/cat.png"}, 422, "URLs are off on this server (DIPTYCH_IMAGE_URLS"),
        ({"image": "iVBORw0KGgo="}, 422, "not a data URI"),
        ({"image": data_uri(noise(1, (120, 120)))}, 413, "limit is 20000"),
        ({"text": "x" * 10_001}, 413, "limit is 10000"),
        ({}, 422, "exactly one"),
    ],
)
def test_one_bad_item_fails_the_request_and_is_named(
    client: TestClient, item: dict[str, str], status: int, words: str
) -> None:
    answer = client.post("/embed", json={"input": [GOOD, item, GOOD]})
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["item"]) == (status, status, "input[1]")
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b'{"input": [{"text": "a"}], "extra": 1}', "application/json", 422),
        (b"x", "application/x-www-form-urlencoded", 415),
        (b"--b", "multipart/form-data; boundary=b", 400),
        (b"\xff", "text/plain", 400),
        (b"x" * 200_001, "application/json", 413),
        (b'{"input": [1, 1, 1, 1, 1]}', "application/json", 413),  # counted before they are looked at
        (b"x" * 20_001, "image/jpeg", 413),
    ],
)
def test_invalid_bodies_are_rejected(client: TestClient, body: bytes, content_type: str, status: int) -> None:
    answer = client.post("/embed", content=body, headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["status"]) == (status, status)

"""What `/v1/embeddings` takes and refuses, on the tiny bundle."""

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from httpx import Response

from support.app import running_app
from support.fixtures import client_fixture
from support.image_requests import data_uri
from support.pictures import picture
from support.tiny_bundle import EMBED_DIM, TINY, write_tiny_bundle

MAX_INPUTS = 2048  # OpenAI's own limit
RED, BLUE = picture("red"), picture("blue")
RED_BASE64 = base64.b64encode(RED).decode()


client = client_fixture(max_items=2)


def embed(client: TestClient, given: object, **more: object) -> Response:
    return client.post("/v1/embeddings", json={"model": TINY, "input": given, **more})


def rows(answer: Response) -> list[list[float]]:
    assert answer.status_code == 200, answer.text
    return [row["embedding"] for row in answer.json()["data"]]


def ours(client: TestClient, *items: dict[str, str]) -> list[list[float]]:
    answers = [client.post("/embed", json={"input": [item]}) for item in items]
    return [row for answer in answers for row in rows(answer)]


def refusal(answer: Response, status: int, param: str) -> str:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["error"]["param"] == param
    assert body["detail"] == body["error"]["message"]  # where clients of Jina look
    message: str = body["error"]["message"]
    return message


@pytest.mark.parametrize(
    "given",
    [
        [data_uri(RED), "red", data_uri(BLUE)],
        [{"image": data_uri(RED)}, {"text": "red"}, {"url": data_uri(BLUE)}],
        [{"bytes": RED_BASE64}, "red", {"image": base64.b64encode(BLUE).decode()}],
    ],
)
def test_texts_and_images_are_embedded_in_their_order(client: TestClient, given: list[Any]) -> None:
    expected = ours(client, {"image": data_uri(RED)}, {"text": "red"}, {"image": data_uri(BLUE)})
    assert rows(embed(client, given)) == [pytest.approx(row, abs=1e-6) for row in expected]


@pytest.mark.parametrize("given", [data_uri(RED), [data_uri(RED)], RED_BASE64])
def test_modality_image_makes_every_string_an_image(client: TestClient, given: object) -> None:
    (expected,) = ours(client, {"image": data_uri(RED)})
    answer = embed(client, given, modality="image")
    assert rows(answer) == [pytest.approx(expected, abs=1e-6)]
    assert answer.json()["usage"] == {"prompt_tokens": 0, "total_tokens": 0}


@pytest.mark.parametrize(
    ("given", "more", "status", "item", "words"),
    [
        (["red", {"bytes": "?"}], {}, 422, "input[1]", "base64 is broken"),
        (["red", {"text": "a", "url": "b"}], {}, 422, "input[1]", "exactly one of text, image, url, bytes"),
        ([data_uri(RED)] * 3, {}, 413, "input", "3 images, limit is 2"),
        (["red"], {"modality": "image"}, 422, "input[0]", "base64 is broken"),
        (["red"], {"modality": "audio"}, 422, "modality", "'text' or 'image'"),
        ([{"url": "https://a.example/cat.png"}], {}, 422, "input[0]", "image URLs are off"),
        (["red"] * 2049, {}, 413, "input", "2049 items, limit is 2048"),
    ],
)
def test_what_cannot_be_embedded_is_named(
    client: TestClient, given: Any, more: dict[str, Any], status: int, item: str, words: str
) -> None:
    message = refusal(embed(client, given, **more), status, item)
    assert words in message
    assert "iVBOR" not in message  # the file itself


def chat(client: TestClient, *contents: Any) -> Response:
    messages = [{"role": "user", "content": content} for content in contents]
    return client.post("/v1/embeddings", json={"model": TINY, "messages": messages})


IMAGE_PART = {"type": "image_url", "image_url": {"url": data_uri(RED)}}


@pytest.mark.parametrize(
    ("contents", "item", "words"),
    [
        ([""], "messages", "hold 0 texts and images"),
        ([[IMAGE_PART, {"type": "text", "text": "Represent it."}]], "messages", "hold 2 texts and images"),
        ([[{"type": "video_url"}]], "messages[0]", "messages[0]: content[0].type: "),
        ([[IMAGE_PART | {"type": "text"}]], "messages[0]", "has the type text without a text"),
    ],
)
def test_other_messages_are_refused(client: TestClient, contents: list[Any], item: str, words: str) -> None:
    assert words in refusal(chat(client, *contents), 422, item)


@pytest.mark.parametrize("field", ["encoding_format", "encoding_type", "embedding_type"])
def test_encodings_hold_the_same_embedding(client: TestClient, field: str) -> None:
    (floats,) = rows(embed(client, "red", **{field: "float"}))
    (packed,) = rows(embed(client, "red", **{field: "base64"}))
    (unsigned,) = rows(embed(client, "red", **{field: "ubinary"}))
    (signed,) = rows(embed(client, "red", **{field: "binary"}))
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(str(packed)), "<f4"), floats, atol=1e-6)
    positive = [number > 0 for number in floats]
    assert True in positive
    assert np.unpackbits(np.array(unsigned, np.uint8)).tolist() == positive
    assert np.unpackbits((np.array(signed) + 128).astype(np.uint8)).tolist() == positive


def test_input_limit_is_that_of_openai_even_with_a_small_queue(client: TestClient) -> None:
    texts = [f"text {n % 7}" for n in range(MAX_INPUTS)]
    answer = embed(client, texts)
    assert answer.status_code == 200, answer.text
    found = answer.json()["data"]
    assert [row["index"] for row in found] == list(range(MAX_INPUTS))
    alone = embed(client, texts[-1]).json()["data"][0]["embedding"]
    assert found[-1]["embedding"] == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("dimensions", [16.5, EMBED_DIM + 1.0, 8])
@pytest.mark.parametrize("field", ["dimensions", "output_dimension"])
def test_other_dimensions_are_rejected(client: TestClient, dimensions: object, field: str) -> None:
    refusal(embed(client, "red", **{field: dimensions}), 422, field)


@pytest.fixture(scope="module")
def matryoshka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("matryoshka")
    write_tiny_bundle(folder / "model_repo", extra={"matryoshka_dimensions": [8, 4]})
    with running_app(folder) as client:
        yield client


@pytest.mark.parametrize("field", ["dimensions", "output_dimension"])
def test_embedding_is_cut_and_normalised_where_the_version_allows_it(
    matryoshka: TestClient, field: str
) -> None:
    given = ["red", data_uri(RED)]
    short, full = rows(embed(matryoshka, given, **{field: 8})), rows(embed(matryoshka, given))
    expected = np.array(full)[:, :8]
    np.testing.assert_allclose(short, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)
    message = refusal(embed(matryoshka, given, **{field: 5}), 422, field)
    assert "may be cut to 4, 8" in message

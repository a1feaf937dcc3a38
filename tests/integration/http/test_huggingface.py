"""What the tasks under `/hf` take and refuse, on the tiny bundle."""

import base64
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from support.fixtures import client_fixture
from support.image_requests import data_uri
from support.pictures import picture
from support.tiny_bundle import CONTEXT_LENGTH, EMBED_DIM

RED = picture("red")
BASE64 = base64.b64encode(RED).decode()
LABELS = ["blue", "red", "green"]

client = client_fixture(max_items=2, max_labels=5)


def classify(client: TestClient, inputs: Any, **parameters: Any) -> Response:
    body = {"inputs": inputs, "parameters": {"candidate_labels": LABELS, **parameters}}
    return client.post("/hf/zero-shot-image-classification", json=body)


def features(client: TestClient, inputs: Any, **more: Any) -> Response:
    return client.post("/hf/feature-extraction", json={"inputs": inputs, **more})


def refusal(answer: Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    message: str = answer.json()["error"]
    return message


@pytest.mark.parametrize("inputs", [BASE64, {"image": BASE64}, data_uri(RED), {"image": data_uri(RED)}])
@pytest.mark.parametrize("template", [None, "a {} thing"])
def test_labels_are_scored_as_by_classify(client: TestClient, inputs: Any, template: str | None) -> None:
    ours = client.post("/classify", json={"images": [data_uri(RED)], "labels": LABELS, "template": template})
    expected = [
        {"label": one["label"], "score": pytest.approx(one["score"])}
        for one in ours.json()["data"][0]["predictions"]
    ]
    answer = classify(client, inputs, hypothesis_template=template)
    assert answer.json() == expected
    assert expected[0]["label"] == "red"


@pytest.mark.parametrize(
    ("inputs", "parameters", "status", "words"),
    [
        ("?", {}, 422, "inputs: base64 is broken"),
        ("https://a.example/cat.png", {}, 422, "inputs: image URLs are off"),
        (BASE64, {"candidate_labels": ["red", "red"]}, 422, "parameters.candidate_labels[1]: "),
        (
            BASE64,
            {"candidate_labels": list("abcdef")},
            413,
            "parameters.candidate_labels: 6 items, limit is 5",
        ),
        (BASE64, {"hypothesis_template": "no place"}, 422, "parameters.hypothesis_template: 'no place' must"),
        (BASE64, {"multi_label": True}, 422, "parameters.multi_label: unknown key"),
    ],
)
def test_what_cannot_be_classified_is_named(
    client: TestClient, inputs: Any, parameters: dict[str, Any], status: int, words: str
) -> None:
    assert words in refusal(classify(client, inputs, **parameters), status)


def test_one_text_is_one_embedding_and_a_list_is_a_list_of_them(client: TestClient) -> None:
    items = [{"text": "red"}, {"image": data_uri(RED)}]
    ours = [row["embedding"] for row in client.post("/embed", json={"input": items}).json()["data"]]
    expected = [pytest.approx(row, abs=1e-6) for row in ours]
    assert features(client, "red").json() == expected[0]
    assert features(client, ["red", data_uri(RED)], normalize=True, truncate=True).json() == expected
    assert (
        features(client, ["red"], dimensions=EMBED_DIM, truncation_direction="right").json() == expected[:1]
    )


@pytest.mark.parametrize(
    ("inputs", "more", "status", "words"),
    [
        (["red", 5], {}, 422, "inputs[1]: "),
        ([data_uri(RED)] * 3, {}, 413, "inputs: 3 images, limit is 2"),
        ("red", {"dimensions": 8}, 422, "dimensions: is 8, the model's embeddings have 16 dimensions"),
        (
            ["red", "word " * 99],
            {"truncate": False},
            422,
            f"inputs[1]: text is longer than the {CONTEXT_LENGTH}",
        ),
    ],
)
def test_what_cannot_be_embedded_is_named(
    client: TestClient, inputs: Any, more: dict[str, Any], status: int, words: str
) -> None:
    assert words in refusal(features(client, inputs, **more), status)


def test_other_errors_have_the_same_shape(client: TestClient) -> None:
    assert "there is no /hf/summarization" in refusal(client.post("/hf/summarization", json={}), 404)
    assert "cannot read text/plain" in refusal(
        client.post("/hf/feature-extraction", content="a", headers={"Content-Type": "text/plain"}), 415
    )

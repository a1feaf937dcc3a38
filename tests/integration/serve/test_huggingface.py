"""Hugging Face's own client against a real server."""

from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from support.image_requests import data_uri
from support.pictures import picture
from support.server import RunningServer, serve
from support.tiny_bundle import TINY, write_tiny_bundle

KEY = "a key that is long enough"
RED = picture("red")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("huggingface")
    write_tiny_bundle(folder / "model_repo")
    environment = {"DIPTYCH_API_KEY": KEY}
    with serve(folder / "model_repo", TINY, folder / "data", environment=environment) as running:
        yield running


def client_of(server: RunningServer, task: str, token: str = KEY) -> InferenceClient:
    return InferenceClient(f"{server.url}/hf/{task}", token=token)


def test_labels_of_an_image_come_best_first(server: RunningServer) -> None:
    client = client_of(server, "zero-shot-image-classification")
    found = client.zero_shot_image_classification(
        RED, ["blue", "red", "green"], hypothesis_template="a picture of {}."
    )
    assert found[0].label == "red"
    assert sum(one.score for one in found) == pytest.approx(1)


def test_features_are_the_embeddings(server: RunningServer) -> None:
    client = client_of(server, "feature-extraction")
    items = [{"text": "red"}, {"image": data_uri(RED)}]
    ours = httpx.post(f"{server.url}/embed", json={"input": items}, headers={"X-API-Key": KEY}).json()
    expected = np.array([row["embedding"] for row in ours["data"]], np.float32)
    np.testing.assert_allclose(client.feature_extraction("red"), expected[0], atol=1e-6)
    both = client.feature_extraction(["red", data_uri(RED)], normalize=True, truncate=True)
    np.testing.assert_allclose(both, expected, atol=1e-6)


def test_errors_arrive_as_the_clients_own_with_their_reason(server: RunningServer) -> None:
    with pytest.raises(HfHubHTTPError, match="embeddings have 16 dimensions") as invalid:
        client_of(server, "feature-extraction").feature_extraction("red", dimensions=3)
    assert invalid.value.response.status_code == 422
    with pytest.raises(HfHubHTTPError) as unknown:
        client_of(server, "feature-extraction", "wrong").feature_extraction("red")
    assert unknown.value.response.status_code == 401

"""The official clients of OpenAI (also as vLLM and infinity use it) and Hugging Face, against a server."""

from collections.abc import Iterator

import httpx
import numpy as np
import openai
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from openai.types import CreateEmbeddingResponse

from support.image_requests import data_uri
from support.pictures import picture
from support.server import RunningServer, serve
from support.tiny_bundle import EMBED_DIM, TINY, write_tiny_bundle

KEY = "a key that is long enough"
RED = picture("red")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("openai")
    write_tiny_bundle(folder / "model_repo")
    environment = {"DIPTYCH_API_KEY": KEY}
    with serve(folder / "model_repo", TINY, folder / "data", environment=environment) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


def test_default_base64_and_float_are_the_same_embeddings(
    client: openai.OpenAI, server: RunningServer
) -> None:
    texts = ["red", "a green field"]
    packed = client.embeddings.create(model=TINY, input=texts)
    floats = client.embeddings.create(model=f"{TINY}/1", input=texts, encoding_format="float")
    ours = httpx.post(
        f"{server.url}/embed", json={"input": [{"text": t} for t in texts]}, headers={"X-API-Key": KEY}
    )
    expected = [row["embedding"] for row in ours.json()["data"]]
    for answer in (packed, floats):
        np.testing.assert_allclose([row.embedding for row in answer.data], expected, atol=1e-6)
    assert packed.usage.prompt_tokens == packed.usage.total_tokens > 4


def test_one_text_is_a_list_of_one(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model=TINY, input="red", dimensions=EMBED_DIM, user="someone")
    assert (len(answer.data), len(answer.data[0].embedding)) == (1, EMBED_DIM)


IMAGE = data_uri(RED)
VLLM_MESSAGES = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": IMAGE}}]}]


def test_image_is_embedded_in_each_form_that_the_client_can_send(
    client: openai.OpenAI, server: RunningServer
) -> None:
    answers = [
        client.embeddings.create(model=TINY, input=IMAGE),
        client.embeddings.create(model=TINY, input=[IMAGE], extra_body={"modality": "image"}),
        client.post(
            "/embeddings",
            cast_to=CreateEmbeddingResponse,
            body={"model": TINY, "messages": VLLM_MESSAGES, "encoding_format": "float"},
        ),
    ]
    ours = httpx.post(
        f"{server.url}/embed", json={"input": [{"image": IMAGE}]}, headers={"X-API-Key": KEY}
    ).json()
    for answer in answers:
        np.testing.assert_allclose(answer.data[0].embedding, ours["data"][0]["embedding"], atol=1e-6)


def test_served_model_is_listed_and_shown(client: openai.OpenAI) -> None:
    (listed,) = client.models.list()
    assert listed.id == TINY
    assert client.models.retrieve(TINY) == listed
    for other in ("text-embedding-3-small", f"{TINY}s", TINY.upper()):
        with pytest.raises(openai.NotFoundError, match="is not served here, 'tiny' is") as missing:
            client.models.retrieve(other)
        assert missing.value.code == "not_found"


def test_errors_arrive_as_the_clients_own(client: openai.OpenAI, server: RunningServer) -> None:
    with pytest.raises(openai.NotFoundError, match="is not served here") as missing:
        client.embeddings.create(model="text-embedding-3-small", input="red")
    assert missing.value.code == "not_found"
    with pytest.raises(openai.UnprocessableEntityError, match="dimensions") as invalid:
        client.embeddings.create(model=TINY, input="red", dimensions=3)
    assert invalid.value.param == "dimensions"
    stranger = openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError, match="unknown, revoked or expired"):
        stranger.models.list()


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
    items = [{"text": "red"}, {"image": IMAGE}]
    ours = httpx.post(f"{server.url}/embed", json={"input": items}, headers={"X-API-Key": KEY}).json()
    expected = np.array([row["embedding"] for row in ours["data"]], np.float32)
    np.testing.assert_allclose(client.feature_extraction("red"), expected[0], atol=1e-6)
    both = client.feature_extraction(["red", IMAGE], normalize=True, truncate=True)
    np.testing.assert_allclose(both, expected, atol=1e-6)


def test_errors_arrive_as_the_clients_own_with_their_reason(server: RunningServer) -> None:
    with pytest.raises(HfHubHTTPError, match="embeddings have 16 dimensions") as invalid:
        client_of(server, "feature-extraction").feature_extraction("red", dimensions=3)
    assert invalid.value.response.status_code == 422
    with pytest.raises(HfHubHTTPError) as unknown:
        client_of(server, "feature-extraction", "wrong").feature_extraction("red")
    assert unknown.value.response.status_code == 401

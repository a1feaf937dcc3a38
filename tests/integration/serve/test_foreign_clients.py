"""Clients that others wrote for infinity, Jina and OpenAI, unchanged, against a real server."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from support.foreign_clients import python_with_clients
from support.image_requests import data_uri
from support.pictures import picture
from support.server import serve
from support.tiny_bundle import TINY, write_tiny_bundle

CALLS = Path(__file__).with_name("foreign_client_calls.py")
RED = picture("red")
pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each client returned, and `ours`: the embeddings of the picture, "red" and "blue"."""
    folder = tmp_path_factory.mktemp("clients")
    write_tiny_bundle(folder / "model_repo")
    (folder / "red.png").write_bytes(RED)
    items = [{"image": data_uri(RED)}, {"text": "red"}, {"text": "blue"}]
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # looks nothing up
    with serve(folder / "model_repo", TINY, folder / "data") as server:
        ours = httpx.post(f"{server.url}/embed", json={"input": items}).json()
        arguments = [f"{server.url}/v1", TINY, str(folder / "red.png"), data_uri(RED)]
        done = subprocess.run(
            [str(python_with_clients()), str(CALLS), *arguments],
            env=environment, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "ours": np.array([row["embedding"] for row in ours["data"]])}


@pytest.mark.parametrize(
    ("client", "name"),
    [
        ("infinity", "rows"),
        ("lite_llm", "infinity"),
        ("lite_llm", "openai"),
        ("lite_llm", "jina_ai"),
        ("jina", "rows"),
        ("langchain", "rows"),
    ],
)
def test_client_gets_the_embeddings_of_a_picture_and_texts(
    answers: dict[str, Any], client: str, name: str
) -> None:
    np.testing.assert_allclose(answers[client][name], answers["ours"], atol=1e-6)


def test_health_is_that_of_infinity(answers: dict[str, Any]) -> None:
    assert abs(answers["infinity"]["unix"] - time.time()) < 3600


def test_bits_of_jina_are_the_signs_of_the_embedding(answers: dict[str, Any]) -> None:
    signs = (answers["ours"][1] > 0).astype(int).tolist()
    assert answers["jina"]["binary"] == answers["jina"]["ubinary"] == signs
    np.testing.assert_allclose(answers["jina"]["data_uri"], answers["ours"][:1], atol=1e-6)


def test_errors_reach_the_caller_with_their_reason(answers: dict[str, Any]) -> None:
    assert "model 'none' is not served here, 'tiny' is" in answers["jina"]["another_model"]
    assert "output_dimension: is 3, the model's embeddings have 16" in answers["lite_llm"]["dimensions"]

"""Hostile texts and bodies against a real server with the default model."""

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from support.default_model import DEFAULT_MODEL, MODEL_REPO
from support.hostile.texts import HostileBody, deep_bodies, hostile_bodies, strange_texts
from support.server import RunningServer, serve
from support.watch import errors_in_log, ready_throughout, resident_bytes

SAME = 0.99999  # cosine: an item alone, in a batch, and beside others
N_CALLERS = 64
TIMEOUT_S = 120
MAX_ANSWER_BYTES = 5_000  # of an error, which does not repeat the input
KEPT_BYTES = 300_000_000  # beyond what the first round left
PICTURE = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///ywAAAAAAQABAAACAUwAOw=="


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    data_dir = tmp_path_factory.mktemp("hostile-texts")
    with serve(MODEL_REPO, DEFAULT_MODEL, data_dir, "--log-format", "json") as running:
        yield running
        assert errors_in_log(running) == []


@pytest.fixture
def client(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=TIMEOUT_S) as client:
        yield client


def vectors(client: httpx.Client, texts: list[str]) -> np.ndarray:
    answer = client.post("/embed", json={"input": [{"text": text} for text in texts]})
    assert answer.status_code == 200, answer.text[:500]
    return np.array([row["embedding"] for row in answer.json()["data"]], np.float32)


def refused_wrongly(client: httpx.Client, hostile: HostileBody) -> str | None:
    """Return what is wrong with the error, in words."""
    answer = client.post(hostile.path, content=hostile.body, headers={"Content-Type": hostile.content_type})
    problem = answer.json()
    item = problem["error"]["param"] if hostile.path.startswith("/v1/") else problem.get("item")
    if answer.status_code != hostile.status:
        return f"{hostile.name}: {answer.status_code} {answer.text[:200]}"
    if hostile.item is not None and item != hostile.item:
        return f"{hostile.name}: names {item}"
    return None if len(answer.content) < MAX_ANSWER_BYTES else f"{hostile.name}: {len(answer.content)} bytes"


@pytest.mark.long
def test_strange_texts_have_vectors_that_are_the_same_alone_and_together(client: httpx.Client) -> None:
    texts = list(strange_texts().values())
    together = vectors(client, texts)
    alone = np.concatenate([vectors(client, [text]) for text in texts])
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert (together * alone).sum(axis=1).min() > SAME


def test_strange_texts_are_labels_queries_and_metadata(client: httpx.Client) -> None:
    for name, text in strange_texts().items():
        short = text[:1_000]
        expected = 200 if short.strip() else 422  # an empty text is no label and no query
        body = {"images": [PICTURE], "labels": [short, "another"]}
        answer = client.post("/classify", json=body)
        assert answer.status_code == expected, (name, answer.text[:300])
        if expected == 200:
            assert {p["label"] for p in answer.json()["data"][0]["predictions"]} == {short, "another"}
        assert client.post("/search", json={"query": {"text": short}}).status_code == expected, name
        assert client.get("/search", params={"q": short}).status_code == expected, name


def test_bodies_that_cannot_be_used_are_refused_and_named(
    server: RunningServer, client: httpx.Client
) -> None:
    with ready_throughout(server):
        wrong = [refused_wrongly(client, hostile) for hostile in hostile_bodies()]
    assert "\n".join(words for words in wrong if words) == ""


def test_nesting_of_any_depth_is_refused_and_never_a_500(server: RunningServer, client: httpx.Client) -> None:
    wrong = []
    with ready_throughout(server):
        for path, body in list(deep_bodies())[::3]:
            answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
            if not 400 <= answer.status_code < 500:
                wrong.append((path, body[:60], answer.status_code, answer.text[:200]))
    assert wrong == []


@pytest.mark.parametrize(
    ("id", "metadata", "part"),
    [
        ("../../etc/passwd", {}, "id"),
        ("a\0b", {}, "id"),
        ("x" * 129, {}, "id"),
        ("é", {}, "id"),
        ("", {}, "id"),
        ("deep", {"a": json.loads("[" * 40 + "]" * 40)}, "metadata"),
        ("large", {"a": "x" * 20_000}, "metadata"),
        ("many", {str(i): i for i in range(10_000)}, "metadata"),
    ],
)
def test_ids_and_metadata_of_no_use_are_named(
    client: httpx.Client, id: str, metadata: dict[str, object], part: str
) -> None:
    gif = bytes.fromhex("47494638396101000100800000000000ffffff2c00000000010001000002024c01003b")
    items = json.dumps([{"id": id, "metadata": metadata}])
    answer = client.post(
        "/collections/default/images", files=[("image", ("x", gif)), ("items", (None, items))]
    )
    assert answer.status_code in {413, 422}, answer.text[:300]
    assert answer.json()["item"] == f"items[0].{part}"


@pytest.mark.parametrize(
    "path", ["/search?q=%ED%A0%80", "/search?q=%00%FF", "/search?q=a&filter=%5B" + "%5B" * 900]
)
def test_query_strings_of_no_sense_are_no_500(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code < 500


def good_texts() -> list[str]:
    return [f"a {colour} {thing}" for colour in ("red", "blue", "green") for thing in ("car", "cat", "house")]


def run_together(server: RunningServer, alone: np.ndarray, seed: int) -> list[str]:
    """Send good texts and hostile bodies from 64 clients; return what went wrong, in words."""
    hostile = [body for body in hostile_bodies() if len(body.body) < 1_000_000]
    work: list[HostileBody | int] = [*hostile * 3, *(i % len(alone) for i in range(3 * len(hostile)))]
    random.Random(seed).shuffle(work)

    def call(share: list[HostileBody | int]) -> list[str]:
        wrong = []
        with httpx.Client(base_url=server.url, timeout=TIMEOUT_S) as client:
            for one in share:
                if isinstance(one, int):
                    (vector,) = vectors(client, [good_texts()[one]])
                    wrong += [] if float(vector @ alone[one]) > SAME else [f"good text {one}"]
                elif words := refused_wrongly(client, one):
                    wrong.append(words)
        return wrong

    with ThreadPoolExecutor(N_CALLERS) as pool:
        return [
            words
            for found in pool.map(call, [work[i::N_CALLERS] for i in range(N_CALLERS)])
            for words in found
        ]


@pytest.mark.long
def test_good_texts_beside_bad_ones_by_64_callers_get_the_vectors_that_they_get_alone(
    server: RunningServer, client: httpx.Client
) -> None:
    alone = np.concatenate([vectors(client, [text]) for text in good_texts()])
    with ready_throughout(server):
        assert run_together(server, alone, seed=0) == []


@pytest.mark.long
@pytest.mark.timeout(900)
def test_memory_returns_after_many_large_texts(server: RunningServer, client: httpx.Client) -> None:
    held = []
    for _ in range(5):
        assert [words for hostile in hostile_bodies() if (words := refused_wrongly(client, hostile))] == []
        held.append(resident_bytes(server))
    assert held[-1] < held[0] + KEPT_BYTES, [round(n / 1e6) for n in held]

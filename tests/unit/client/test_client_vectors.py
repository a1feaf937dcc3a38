"""`add_vectors`: the requests and the outcomes."""

import json
import struct
from array import array
from typing import Any

import httpx
import numpy as np
import pytest

from diptych_client import Client, Conflict, InvalidCall, InvalidValue, ModelRef
from support.fake_api import FakeApi, parts, problem

PATH = "POST /collections/pets/vectors"
TINY = ModelRef("tiny", 3, "fp32", "exact")


def reply(request: httpx.Request) -> httpx.Response:
    """Reply that every row is created, with its first number as id."""
    raw = dict(parts(request))["embeddings"]
    rows = [struct.unpack_from("<f", raw, start)[0] for start in range(0, len(raw), 8)]
    outcomes = [
        {"index": i, "id": str(int(first)), "status": "created", "error": None}
        for i, first in enumerate(rows)
    ]
    return httpx.Response(200, json={"model": {}, "collection": "pets", "outcomes": outcomes})


@pytest.fixture
def api() -> FakeApi:
    return FakeApi().on(PATH, reply)


def sent(api: FakeApi, name: str) -> Any:
    return json.loads(dict(parts(api.requests[-1]))[name])


def test_vectors_of_every_kind_are_sent_as_float32_rows(client: Client, api: FakeApi) -> None:
    vectors = [array("f", [1, 0]), np.array([2, 0], np.float32), [3, 0], (4.0, 0.0)]
    outcomes = client.add_vectors(vectors, model=TINY, collection="pets")
    assert [outcome.id for outcome in outcomes] == ["1", "2", "3", "4"]
    assert sent(api, "model") == {"name": "tiny", "version": 3, "precision": "fp32", "decode": "exact"}
    assert "items" not in dict(parts(api.requests[-1]))


def test_long_lists_are_sent_in_several_requests_and_indexes_count_over_the_call(
    client: Client, api: FakeApi
) -> None:
    heard: list[int] = []
    outcomes = client.add_vectors(
        np.arange(4_200, dtype=np.float32).reshape(-1, 2),
        model=TINY,
        ids=[f"id-{i}" for i in range(2_100)],
        collection="pets",
        on_outcome=lambda outcome: heard.append(outcome.index),
    )
    assert len(api.requests) == 3
    assert [outcome.index for outcome in outcomes] == heard == list(range(2_100))
    assert sent(api, "items")[0] == {"id": "id-2000", "metadata": None}


def test_vectors_of_different_lengths_are_refused_before_they_are_sent(client: Client, api: FakeApi) -> None:
    for wrong in ([[1.0, 0.0], [1.0]], [[]], [np.array([1.0, 0.0])], [np.ones((1, 2), np.float32)]):
        with pytest.raises(InvalidCall, match=r"vectors\["):
            client.add_vectors(wrong, model=TINY, collection="pets")
    assert api.requests == []


def test_error_of_a_single_vector_is_its_outcome_and_another_version_is_raised(
    client: Client, api: FakeApi
) -> None:
    api.on(PATH, problem(422, "has norm 2, it must be 1", "items[0].embedding"))
    (outcome,) = client.add_vectors([[2.0, 0.0]], model=TINY, collection="pets")
    assert isinstance(outcome.error, InvalidValue)
    assert outcome.error.item == "embedding"
    api.on(PATH, problem(409, "the vectors are of tiny/3"))
    with pytest.raises(Conflict):
        client.add_vectors([[1.0, 0.0]], model=TINY, collection="pets")

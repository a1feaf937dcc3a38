"""The hostile images against a server with the default model: alone, in batches, from many clients."""

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from support.default_model import DEFAULT_MODEL, MODEL_REPO
from support.hostile.corpus import corpus, good_files
from support.hostile.entry import Hostile
from support.hostile.image_calls import (
    IMAGE_CALLS,
    Answer,
    ImageCall,
    add_many,
    classify_many,
    embed_many,
    embed_raw,
)
from support.server import RunningServer, serve
from support.watch import errors_in_log, peak_bytes, ready_throughout, resident_bytes

SAME = 0.99999  # cosine: an item alone, in a batch, and beside others
N_CALLERS = 64
TIMEOUT_S = 120
KEPT_BYTES = 300_000_000  # beyond what the first round left; a leak of a picture each would be tens of GB
PEAK_BYTES = 3_000_000_000  # the largest picture takes 0.8 GB while it is decoded, one at a time


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    data_dir = tmp_path_factory.mktemp("hostile")
    with serve(MODEL_REPO, DEFAULT_MODEL, data_dir, "--log-format", "json") as running:
        yield running
        assert errors_in_log(running) == []


@pytest.fixture
def client(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=TIMEOUT_S) as client:
        yield client


def light() -> list[Hostile]:
    return [entry for entry in corpus() if not entry.heavy]


def bad() -> list[Hostile]:
    return [entry for entry in light() if 200 not in entry.statuses]


def vectors_alone(client: httpx.Client) -> list[np.ndarray]:
    """Return the vectors of the good files, requested one by one."""
    answers = [embed_raw(client, file) for file in good_files()]
    return [vector for answer in answers if (vector := answer.vector) is not None]


def wrong_answers(client: httpx.Client, call: ImageCall, entries: Sequence[Hostile]) -> list[object]:
    """Return the responses of an API call that are wrong, in words."""
    wrong: list[object] = []
    for entry in entries:
        answer = call(client, entry.payload)
        if answer.status not in entry.statuses or (answer.status != 200 and not answer.item):
            wrong.append((entry.name, answer.status, answer.item, answer.body[:200]))
        assert len(answer.body) < 5_000, entry.name  # an error contains nothing of the file
    return wrong


def test_every_file_is_answered_as_it_must_by_one_door_each(
    server: RunningServer, client: httpx.Client
) -> None:
    with ready_throughout(server):
        for i, call in enumerate(IMAGE_CALLS):
            assert wrong_answers(client, call, light()[i :: len(IMAGE_CALLS)]) == []


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("call", IMAGE_CALLS, ids=lambda call: call.__name__)
def test_every_file_alone_is_answered_as_it_must_by_every_door(
    server: RunningServer, client: httpx.Client, call: ImageCall
) -> None:
    with ready_throughout(server):
        assert wrong_answers(client, call, corpus()) == []


@pytest.mark.long
@pytest.mark.parametrize(
    ("call", "name"), [(embed_many, "input"), (classify_many, "images")], ids=["embed", "classify"]
)
def test_one_bad_file_fails_a_request_and_is_named(
    client: httpx.Client, call: Callable[[httpx.Client, Sequence[bytes]], Answer], name: str
) -> None:
    rng = random.Random(0)
    wrong = []
    for entry in bad():
        at = rng.randrange(4)
        files = list(good_files()[:3])
        files.insert(at, entry.payload)
        answer = call(client, files)
        if answer.status not in entry.statuses or answer.item != f"{name}[{at}]":
            wrong.append((entry.name, answer.status, answer.item))
    assert wrong == []


def test_bad_files_of_an_add_fail_alone(client: httpx.Client) -> None:
    goods = [file for file in good_files() if file]
    entries = bad()
    for start in range(0, len(entries), 32):
        some = entries[start : start + 32]
        mixed = [file for entry, good in zip(some, goods * 2, strict=False) for file in (entry.payload, good)]
        statuses = add_many(client, mixed)
        assert statuses[1::2] == [200] * (len(statuses) // 2)
        wrong = [
            (entry.name, status)
            for entry, status in zip(some, statuses[::2], strict=False)
            if status not in entry.statuses
        ]
        assert wrong == []
    for file, vector in zip(goods, vectors_alone(client), strict=True):
        hit = client.post("/search", files=[("image", ("x", file)), ("k", (None, "1"))]).json()["hits"][0]
        assert hit["cosine"] > SAME
        assert vector.shape


def run_together(
    server: RunningServer, entries: list[Hostile], alone: list[np.ndarray], seed: int
) -> list[str]:
    """Send each bad file together with a good one from 64 clients; return what went wrong, in words."""
    work: list[Hostile | int] = [*entries, *(i % len(alone) for i in range(len(entries)))]
    random.Random(seed).shuffle(work)

    def call(share: list[Hostile | int]) -> list[str]:
        wrong = []
        with httpx.Client(base_url=server.url, timeout=TIMEOUT_S) as client:
            for one in share:
                if isinstance(one, Hostile):
                    status = embed_raw(client, one.payload).status
                    wrong += [] if status in one.statuses else [f"{one.name}: {status}"]
                    continue
                answer = embed_raw(client, good_files()[one])
                if answer.vector is None or float(answer.vector @ alone[one]) < SAME:
                    wrong.append(f"good file {one}: {answer.status} {answer.body[:200]}")
        return wrong

    with ThreadPoolExecutor(N_CALLERS) as pool:
        shares = [work[i::N_CALLERS] for i in range(N_CALLERS)]
        return [words for found in pool.map(call, shares) for words in found]


@pytest.mark.parametrize(
    "entries", [light()[::3], pytest.param(list(corpus()), marks=pytest.mark.long)], ids=len
)
def test_good_files_beside_bad_ones_by_64_callers_get_the_vectors_that_they_get_alone(
    server: RunningServer, client: httpx.Client, entries: list[Hostile]
) -> None:
    alone = vectors_alone(client)
    assert len(alone) == len(good_files())
    with ready_throughout(server):
        assert run_together(server, entries, alone, seed=0) == []


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_memory_returns_after_many_rounds(server: RunningServer, client: httpx.Client) -> None:
    alone = vectors_alone(client)
    assert run_together(server, list(corpus()), alone, seed=1) == []
    after_first = resident_bytes(server)
    held = []
    with ready_throughout(server):
        for seed in range(2, 8):
            assert run_together(server, list(corpus()), alone, seed) == []
            held.append(resident_bytes(server))
    megabytes = [round(n / 1e6) for n in (after_first, *held, peak_bytes(server))]
    print(f"MB after each round, and the peak: {megabytes}")
    assert held[-1] < after_first + KEPT_BYTES, megabytes
    assert peak_bytes(server) < PEAK_BYTES, megabytes

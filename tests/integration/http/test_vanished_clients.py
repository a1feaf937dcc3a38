"""Who hangs up costs no more: no inference, no room in a queue. A server process with a slow encoder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.callers import (
    connect,
    connected,
    different_pictures,
    message,
    metric,
    wait_until,
)
from support.fixtures import model_repo_fixture
from support.image_requests import files_of
from support.server import RunningServer, serve
from support.tiny_bundle import TINY

N_ITEMS = 40  # two seconds and a half of encoding


model_repo = model_repo_fixture({"precisions": {"fp32": "glacial"}})


@pytest.fixture(scope="module")
def server(model_repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    flags = ["--max-batch-size", "1", "--max-queue-items", str(N_ITEMS), "--max-items", str(N_ITEMS)]
    flags += ["--max-body-bytes", "2000000", "--max-inflight-body-bytes", "2000000"]
    short = {"body_timeout_s": 3}
    with serve(model_repo, TINY, tmp_path_factory.mktemp("data"), *flags, constants=short) as server:
        yield server


def n_encoded(server: RunningServer) -> float:
    return sum(metric(server, "diptych_batch_size_sum", encoder=name) for name in ("image", "text"))


def n_waiting(server: RunningServer) -> float:
    return sum(metric(server, "diptych_queue_items", encoder=name) for name in ("image", "text"))


def texts(first: int) -> list[dict[str, str]]:
    return [{"text": f"word {n}"} for n in range(first, first + N_ITEMS)]


PICTURES = {"files": files_of(different_pictures(N_ITEMS))}
LABELS = {
    "files": [*files_of(different_pictures(1)), *(("labels", (None, f"l{n}")) for n in range(N_ITEMS - 1))]
}
CASES = {
    "images": ("/embed", PICTURES),
    "labels": ("/classify", LABELS),
    "openai": ("/v1/embeddings", {"json": {"model": TINY, "input": [one["text"] for one in texts(100)]}}),
    "search": ("/search", {"json": {"query": [{**one, "weight": 1.0} for one in texts(200)[:32]]}}),
    "add": ("/collections/default/images", PICTURES),
}


@pytest.mark.parametrize("name", list(CASES))
def test_items_of_a_caller_that_hung_up_are_not_encoded(server: RunningServer, name: str) -> None:
    path, given = CASES[name]
    before = n_encoded(server)
    with connect(server) as caller:
        caller.sendall(message(server, "POST", path, **given))
        wait_until(lambda: n_waiting(server) > N_ITEMS / 4)  # labels come by halves of the queue
    wait_until(lambda: n_waiting(server) == 0, within_s=1)
    after = n_encoded(server)
    assert httpx.post(f"{server.url}/embed", json={"input": [{"text": "next"}]}).status_code == 200
    assert after - before < N_ITEMS / 2
    assert n_encoded(server) <= after + 2  # the next one, and one that was being encoded
    assert httpx.get(f"{server.url}/collections/default").json()["n_images"] == 0


@pytest.mark.long
def test_after_two_hundred_slow_and_vanished_callers_all_the_room_is_there(server: RunningServer) -> None:
    whole = message(server, "POST", "/embed", files=files_of(different_pictures(8, first=1000)))
    half, head = whole[: len(whole) // 2], whole[:40]
    with connected(server, 200) as callers:
        for caller, said in zip(callers, [b"", head, half, whole] * 50, strict=True):
            caller.sendall(said)
        for caller in callers[1::2]:
            caller.close()
    wait_until(lambda: n_waiting(server) == 0)
    full: dict[str, Any] = {"files": files_of(different_pictures(N_ITEMS, first=2000))}
    answer = httpx.post(f"{server.url}/embed", timeout=60, **full)
    assert (answer.status_code, len(answer.json()["data"])) == (200, N_ITEMS)
    assert n_waiting(server) == 0
    assert [line for line in server.log() if line["level"] == "error"] == []

"""A server whose encoder fails, hangs or cannot be stopped: its responses and its end."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.faulty_graphs import Failure, grey
from support.fixtures import model_repo_fixture
from support.pictures import noise, picture
from support.server import RunningServer, serve
from support.tiny_bundle import TINY

ENCODE_TIMEOUT_S = "diptych.wiring.version.ENCODE_TIMEOUT_S"
model_repo = model_repo_fixture({"precisions": {"fp32": "faulty"}})


def ask(server: RunningServer, *images: bytes) -> httpx.Response:
    files = [("image", ("x.png", image, "image/png")) for image in images]
    return httpx.post(f"{server.url}/embed", files=files, timeout=60)


def later(call: Any, *arguments: Any) -> "Future[Any]":
    """Make the call in a thread."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(call, *arguments)
    pool.shutdown(wait=False)
    return future


def test_only_the_request_with_the_bad_item_fails(model_repo: Path, tmp_path: Path) -> None:
    failures: tuple[Failure, ...] = ("raise", "nan", "long", "hang")
    with serve(model_repo, TINY, tmp_path, constants={ENCODE_TIMEOUT_S: 0.5}) as server:
        with ThreadPoolExecutor(16) as pool:
            good = [pool.submit(ask, server, noise(n), noise(n + 100)) for n in range(12)]
            bad = {name: pool.submit(ask, server, noise(50), picture(grey(name))) for name in failures}
        assert [answer.result().status_code for answer in good] == [200] * 12
        for name, answer in bad.items():
            response = answer.result()
            assert (name, response.status_code) == (name, 500)
            assert response.headers["content-type"] == "application/problem+json"
            problem = response.json()
            assert (problem["item"], problem["type"]) == ("input[1]", "urn:diptych:error:encoder-failed")
        assert "did not answer within 0.5 s" in bad["hang"].result().json()["detail"]
        assert httpx.get(f"{server.url}/readyz").status_code == 200
        assert ask(server, noise(1)).status_code == 200
        assert server.stop() == 0


@pytest.mark.long
def test_process_with_an_unstoppable_encoder_logs_it_and_exits_with_1(
    model_repo: Path, tmp_path: Path
) -> None:
    """After the deadline the call gets five seconds to stop; three seconds later the server stops."""
    with serve(model_repo, TINY, tmp_path, constants={ENCODE_TIMEOUT_S: 0.5}) as server:
        lost = later(ask, server, picture(grey("deaf")))
        time.sleep(0.2)
        behind = later(ask, server, noise(1))
        seen = {"readyz": 0, "readyz before the end of waiting": 0, "submitted after": 0}
        while server.process.poll() is None:
            try:
                ready = httpx.get(f"{server.url}/readyz", timeout=5)
                late = ask(server, noise(2)) if lost.done() else None
            except httpx.TransportError:
                break  # it has left
            if ready.status_code == 503:
                assert "has not answered for 0.5 s" in ready.json()["detail"]
                seen["readyz"] += 1
                seen["readyz before the end of waiting"] += not lost.done()
            if late is not None:
                assert (late.status_code, late.headers["retry-after"]) == (503, "1")
                detail = late.json()["detail"]
                assert "the image encoder hangs" in detail or "the server is stopping" in detail  # at last
                seen["submitted after"] += "the image encoder hangs" in detail
            time.sleep(0.1)
        assert all(seen.values()), seen
        for answer in (lost.result(30), behind.result(30)):
            assert (answer.status_code, answer.json()["type"]) == (503, "urn:diptych:error:not-ready")
        assert server.process.wait(30) == 1
    messages = [line["message"] for line in server.log() if line["level"] == "error"]
    assert any("since one of its threads hangs: the image encoder hangs" in message for message in messages)

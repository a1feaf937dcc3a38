"""A server whose encoder fails, hangs or cannot be stopped: what its clients see, and how it ends."""

import asyncio
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from diptych.adapters.pillow_decoder import PillowDecoder
from diptych.adapters.prometheus_metrics import PrometheusMetrics
from diptych.bundle.image import ImageLimits
from diptych.bundle.repository import ModelRepository
from diptych.errors import EncoderFailed
from diptych.settings import Settings
from diptych.wiring import load, verify_bundle
from diptych.wiring.bundles import load_precision
from diptych.wiring.engine import build_engine
from support.app import FIXED_PLAN
from support.faulty_graphs import Failure, grey
from support.pictures import noise, picture
from support.server import RunningServer, serve
from support.tiny_bundle import TINY, write_tiny_bundle


@pytest.fixture(scope="module")
def model_repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faulty") / "model_repo"
    write_tiny_bundle(folder, precisions={"fp32": "faulty"})
    return folder


def ask(server: RunningServer, *images: bytes) -> httpx.Response:
    files = [("image", ("x.png", image, "image/png")) for image in images]
    return httpx.post(f"{server.url}/embed", files=files, timeout=60)


def later(call: Any, *arguments: Any) -> "Future[Any]":
    """The call in a thread of its own."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(call, *arguments)
    pool.shutdown(wait=False)
    return future


def test_only_requests_with_the_bad_item_fail_whatever_is_wrong_with_it(
    model_repo: Path, tmp_path: Path
) -> None:
    failures: tuple[Failure, ...] = ("raise", "nan", "long", "hang")
    with serve(model_repo, TINY, tmp_path, "--encode-timeout-s", "0.5") as server:
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
def test_process_whose_encoder_cannot_be_stopped_says_so_and_ends_with_1(
    model_repo: Path, tmp_path: Path
) -> None:
    """Past the deadline the call is told to stop, for five seconds; then three more are a farewell."""
    with serve(model_repo, TINY, tmp_path, "--encode-timeout-s", "0.5") as server:
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
    assert any("as a thread of it is lost: the image encoder hangs" in message for message in messages)


@pytest.mark.long
def test_process_that_is_told_to_stop_while_its_encoder_is_lost_ends_with_1(
    model_repo: Path, tmp_path: Path
) -> None:
    flags = ("--encode-timeout-s", "2", "--grace-s", "1")
    with serve(model_repo, TINY, tmp_path, *flags) as server:
        lost = later(ask, server, picture(grey("deaf")))
        time.sleep(0.5)
        assert server.stop() == 1
        assert isinstance(lost.exception(30), httpx.TransportError) or lost.result().status_code >= 500


def test_readiness_tells_when_all_calls_fail_and_when_they_succeed_again(tmp_path: Path) -> None:
    """The canary goes past the batches: it decides, and is asked within its period after a batch failed."""
    write_tiny_bundle(tmp_path / "model_repo")
    settings = Settings(
        model_repo=tmp_path / "model_repo", model=TINY, data_dir=tmp_path / "data", **FIXED_PLAN
    )

    async def run() -> None:
        services = await load(settings)
        health: Any = services.health
        batcher: Any = services.embedder._images
        await services.embedder.embed_texts(["red"])
        await services.embedder.embed_images([noise(1)])
        sound_canary, sound_encode, asked = health._canary, batcher._encode, 0

        def canary(on_start: Any) -> None:
            nonlocal asked
            asked += 1
            batcher._encode([np.zeros((32, 32, 3), np.uint8)], on_start)

        def fail(items: Any, on_start: Any) -> Any:
            raise RuntimeError("secret")

        health._canary, health._period_s = canary, 0.2
        await restart(health)
        until_s = time.monotonic() + 0.5
        while time.monotonic() < until_s:
            await services.embedder.embed_texts(["red"])
            await services.embedder.embed_images([noise(1)])
        assert asked == 0, "both towers prove themselves all the time"
        batcher._encode = fail
        (outcome,) = await services.embedder.embed_images([noise(2)])
        assert isinstance(outcome, EncoderFailed)
        await until(lambda: not health.report().ready)
        assert health.report().reason == "the canary failed: RuntimeError"
        batcher._encode, health._canary = sound_encode, sound_canary
        await until(lambda: health.report().ready)
        await services.close()

    asyncio.run(run())


@pytest.mark.parametrize(("slowest_batch_s", "timeout_s"), [(0.1, 60), (7.0, 70)])
def test_model_whose_batches_take_long_is_given_longer(
    model_repo: Path, tmp_path: Path, slowest_batch_s: float, timeout_s: float
) -> None:
    bundle = verify_bundle(ModelRepository(model_repo), TINY, 1)
    loaded = load_precision(bundle, "fp32", device="cpu", n_threads=1)
    spec = bundle.manifest.image
    engine = build_engine(
        Settings(data_dir=tmp_path),
        replace(loaded, slowest_batch_s=slowest_batch_s),
        PillowDecoder(spec, ImageLimits(), n_threads=1),
        PrometheusMetrics(),
        names=("image", "text"),
        on_stuck=print,
    )
    assert engine.timeout_s == pytest.approx(timeout_s)


async def restart(health: Any) -> None:
    """With another period."""
    health._task.cancel()
    await asyncio.wait([health._task])
    health._task = asyncio.create_task(health._keep_asking())


async def until(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)

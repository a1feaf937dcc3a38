"""A server whose encoder fails, hangs or cannot be stopped: its responses and its end."""

import asyncio
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from diptych.adapters.images.pillow_decoder import ImageWorkers
from diptych.adapters.prometheus import PrometheusMetrics
from diptych.bundle.encoder import Embeddings, OnStart, Pixels
from diptych.bundle.image.preprocess import ImageLimits
from diptych.bundle.repository import ModelRepository
from diptych.core.limits import Limits
from diptych.core.serving.version import Version
from diptych.errors import EncoderFailed
from diptych.settings import Settings
from diptych.wiring.loading.bundles import LoadedBundle, ServedEncoder, load_precision, verify_bundle
from diptych.wiring.version import build_version, health_of
from integration.store_parts import EXECUTION
from support.faulty_graphs import Failure, grey
from support.fixtures import model_repo_fixture
from support.pictures import noise, picture
from support.server import RunningServer, serve
from support.tiny_bundle import TINY
from unit.core.core_fakes import until

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


@pytest.mark.long
def test_process_stopped_while_its_encoder_hangs_exits_with_1(model_repo: Path, tmp_path: Path) -> None:
    with serve(model_repo, TINY, tmp_path, "--grace-s", "1", constants={ENCODE_TIMEOUT_S: 2}) as server:
        lost = later(ask, server, picture(grey("deaf")))
        time.sleep(0.5)
        assert server.stop() == 1
        assert isinstance(lost.exception(30), httpx.TransportError) or lost.result().status_code >= 500


class Encoder:
    """The encoder of the bundle; it raises once `fails` is set."""

    def __init__(self, sound: ServedEncoder) -> None:
        self._sound = sound
        self.fails = False
        self.n_canaries = 0  # images of the canary: they are black

    def encode_image(self, pixels: Pixels, on_start: OnStart | None = None) -> Embeddings:
        self.n_canaries += not pixels.any()
        if self.fails:
            raise RuntimeError("secret")
        return self._sound.encode_image(pixels, on_start)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sound, name)


def engine_of(loaded: LoadedBundle, folder: Path) -> Version:
    return build_version(
        Settings(data_dir=folder),
        Limits(),
        loaded,
        ImageWorkers(ImageLimits(), n_threads=1),
        PrometheusMetrics(),
        decode="exact",
        execution=EXECUTION,
        read_calibration=lambda: None,
        on_stuck=print,
    )


@pytest.fixture(scope="module")
def loaded(model_repo: Path) -> LoadedBundle:
    return load_precision(
        verify_bundle(ModelRepository(model_repo).folder(TINY, 1)), "fp32", device="cpu", n_threads=1
    )


def test_readiness_follows_whether_calls_succeed(loaded: LoadedBundle, tmp_path: Path) -> None:
    """The canary bypasses the queue. It decides, and runs within its period after a failed batch."""

    async def run() -> None:
        encoder: Any = Encoder(loaded.encoder)
        engine = engine_of(replace(loaded, encoder=encoder), tmp_path)
        health = health_of(lambda: [engine], print, period_s=0.5)

        async def embed_both() -> None:
            await engine.embedder.embed_texts(["red"])
            await engine.embedder.embed_images([noise(1)])

        await embed_both()
        await health.start()
        until_s = time.monotonic() + 1
        while time.monotonic() < until_s:
            await embed_both()
        assert encoder.n_canaries == 0, "both towers prove themselves all the time"
        encoder.fails = True
        (outcome,) = await engine.embedder.embed_images([noise(2)])
        assert isinstance(outcome, EncoderFailed)
        await until(lambda: not health.report().ready)
        assert health.report().reason == "the canary failed: RuntimeError"
        encoder.fails = False
        await until(lambda: health.report().ready)
        await health.close()
        await engine.embedder.close()

    asyncio.run(run())


@pytest.mark.parametrize(("slowest_batch_s", "timeout_s"), [(0.1, 60), (7.0, 70)])
def test_slow_model_gets_a_longer_time_limit(
    loaded: LoadedBundle, tmp_path: Path, slowest_batch_s: float, timeout_s: float
) -> None:
    engine = engine_of(replace(loaded, slowest_batch_s=slowest_batch_s), tmp_path)
    assert engine.timeout_s == pytest.approx(timeout_s)

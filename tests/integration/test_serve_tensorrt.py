"""CUDA serves while TensorRT's engines are built, and on if they cannot be had; both are fakes."""

import asyncio
import hashlib
import json
import re
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from diptych.adapters import gpu_graphs, tensorrt_build
from diptych.adapters.tensorrt_build import EngineJob
from diptych.bundle.repository import ModelRepository
from diptych.core.runner import Runner
from diptych.errors import BundleError, ConfigError
from diptych.wiring import upgrade
from diptych.wiring.bundles import load_precision, verify_bundle
from support.app import running_app
from support.fake_cuda import CUDA, FakeCuda
from support.fake_tensorrt import TENSORRT, FakeTensorRt
from support.largest_id import write_largest_id_bundle
from support.moved_bytes import write_moved_bytes_bundle
from support.pictures import noise
from support.tiny_bundle import CONTEXT_LENGTH, IMAGE_SIZE, TINY, write_tiny_bundle

WAIT_S = 30.0
ITEMS = [("image", (f"{n}.png", noise(n))) for n in range(5)] + [("text", (None, "red thing"))]


@dataclass
class Builder:
    """In the place of the process that builds: in this one, when it is let."""

    may_go_on: threading.Event = field(default_factory=threading.Event)
    n_begun: int = 0
    n_cancelled: int = 0
    dies: bool = False

    async def __call__(self, job: EngineJob) -> None:
        self.n_begun += 1
        try:
            while not self.may_go_on.is_set():  # noqa: ASYNC110 - another thread sets it
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.n_cancelled += 1
            raise
        if self.dies:
            folder = Path(str(job.towers[0][1]["trt_engine_cache_path"]))
            (folder / "image_encoder_0_0_sm90.engine").write_bytes(b"half")
            raise BundleError("the builder ended with signal 11: it said nothing")
        await asyncio.to_thread(tensorrt_build.build, job)


@dataclass
class Machine:
    """One with a GPU and TensorRT."""

    cuda: FakeCuda
    tensorrt: FakeTensorRt
    builder: Builder
    folder: Path

    def app(self, **given: Any) -> Any:
        """A server on it; engines are kept from one to the next."""
        options = {"device": "cuda", "tensorrt": "auto", "cache_dir": self.folder / "cache"}
        return running_app(self.folder, **(options | given))

    def kept(self) -> list[Path]:
        """Folders of engines that were built whole."""
        return [record.parent for record in self.folder.glob("cache/*/*/built.json")]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    tensorrt, builder = FakeTensorRt(), Builder()
    builder.may_go_on.set()
    cuda = FakeCuda(tensorrt=tensorrt).install(monkeypatch)
    for module in (upgrade, tensorrt_build):
        monkeypatch.setattr(module, "require_tensorrt", lambda: "10.16.1")
    # Its package has a function of the same name.
    monkeypatch.setattr(import_module("diptych.wiring.assemble"), "build_in_child", builder)
    return Machine(cuda, tensorrt, builder, tmp_path)


def running(client: TestClient) -> dict[str, Any]:
    (model,) = client.get("/models").json()["models"]
    return dict(model["serving"]["running"][0])  # that of requests


def wait_until_settled(client: TestClient) -> dict[str, Any]:
    deadline = time.monotonic() + WAIT_S
    while (found := running(client))["tensorrt"]["state"] == "building":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def vectors(client: TestClient) -> Any:
    answer = client.post("/embed", files=ITEMS)
    assert answer.status_code == 200, answer.text
    return [row["embedding"] for row in answer.json()["data"]]


def test_cuda_serves_until_engines_are_built_and_proven_and_no_request_notices(machine: Machine) -> None:
    machine.builder.may_go_on.clear()
    with machine.app() as client:
        expected = vectors(client)
        found = running(client)
        assert (found["provider"], found["tensorrt"]["state"]) == (CUDA, "building")
        reason = "each shape of a batch is captured once"
        assert found["cuda_graphs"] == {
            tower: {"captured": True, "reason": reason} for tower in ("image", "text")
        }
        done, wrong = threading.Event(), []

        def ask() -> None:
            while not done.is_set():
                if not np.allclose(vectors(client), expected, atol=1e-6):
                    wrong.append("other vectors")

        with ThreadPoolExecutor(2) as pool:
            askers = [pool.submit(ask), pool.submit(ask)]
            machine.builder.may_go_on.set()
            found = wait_until_settled(client)
            time.sleep(0.05)
            done.set()
            for asker in askers:
                asker.result(WAIT_S)
        assert wrong == []
        assert found["provider"] == TENSORRT
        assert found["cuda_graphs"] is None
        assert found["tensorrt"]["state"] == "serving"
        assert found["tensorrt"]["reason"].startswith("TensorRT 10.16.1, engines built in ")
        assert client.get("/version").json()["provider"] == TENSORRT
        assert f'precision="fp32",provider="{TENSORRT}"' in client.get("/metrics").text
        assert CUDA not in client.get("/metrics").text
        n_before = len(machine.tensorrt.shapes)
        np.testing.assert_allclose(vectors(client), expected, atol=1e-6)
        assert len(machine.tensorrt.shapes) > n_before


def test_engines_are_proven_in_every_shape_that_they_will_run_in(machine: Machine) -> None:
    with machine.app(max_batch_size=4) as client:
        assert wait_until_settled(client)["provider"] == TENSORRT
    images = {shape for shape in machine.tensorrt.shapes if len(shape) == 4}
    assert images == {(size, IMAGE_SIZE, IMAGE_SIZE, 3) for size in (1, 2, 4)}
    texts = {shape for shape in machine.tensorrt.shapes if len(shape) == 2}
    assert texts == {(size, length) for size in (1, 2, 4) for length in (8, 16, CONTEXT_LENGTH)}


def test_next_start_finds_the_engines_and_other_batches_need_others(machine: Machine) -> None:
    with machine.app() as client:
        wait_until_settled(client)
    assert (machine.tensorrt.n_built, machine.builder.n_begun) == (2, 1)
    (kept,) = machine.kept()
    assert kept.name == "a-card-10.16.1"
    with machine.app() as client:
        found = wait_until_settled(client)
    assert found["tensorrt"] == {
        "state": "serving",
        "reason": "TensorRT 10.16.1, engines of an earlier start",
    }
    assert (machine.tensorrt.n_built, machine.builder.n_begun) == (2, 1)
    with machine.app(max_batch_size=8) as client:
        assert wait_until_settled(client)["tensorrt"]["state"] == "serving"
    assert (machine.tensorrt.n_built, machine.builder.n_begun) == (4, 2)
    assert machine.tensorrt.timings[:2] == [b"", b"times"]
    assert machine.tensorrt.timings[2:] == [b"times", b"times"]  # those of the first build
    assert machine.kept() == [kept]


def settled_on_cuda(machine: Machine) -> str:
    """The reason; requests are answered all the same."""
    with machine.app() as client:
        found = wait_until_settled(client)
        assert (found["provider"], found["tensorrt"]["state"]) == (CUDA, "unavailable")
        assert len(vectors(client)) == len(ITEMS)
        assert client.get("/version").json()["provider"] == CUDA
    return str(found["tensorrt"]["reason"])


def test_build_that_fails_leaves_cuda_serving_and_says_why(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.tensorrt.fails_with = "TensorRT EP could not build engine for fused node"
    reason = settled_on_cuda(machine)
    assert "image_encoder.onnx does not load in onnxruntime" in reason
    assert reason.endswith(machine.tensorrt.fails_with)
    assert f"fp32 is not served by TensorRT, CUDA goes on: {reason}" in caplog.text
    assert machine.kept() == []


def test_builder_that_dies_leaves_no_half_engine_in_use(machine: Machine) -> None:
    machine.builder.dies = True
    assert settled_on_cuda(machine) == "the builder ended with signal 11: it said nothing"
    assert machine.kept() == []
    assert list(machine.folder.glob("cache/*/.tmp-*/*.engine")) != []
    machine.builder.dies = False
    with machine.app() as client:
        assert wait_until_settled(client)["provider"] == TENSORRT
    assert list(machine.folder.glob("cache/*/.tmp-*")) == []


@pytest.mark.parametrize("tower", ["image", "text"])
def test_engine_with_other_vectors_never_serves(tower: str, machine: Machine) -> None:
    """As CLIP's text tower, whose pooling by the largest id TensorRT has got wrong.

    All items are equally wrong: which one is the worst is a matter of rounding, and so of the processor.
    """
    machine.tensorrt.wrong_engines = (f"{tower}_encoder",)
    reason = settled_on_cuda(machine)
    assert re.search(rf"golden {tower} \d: cosine is -1\.000000", reason)
    assert settled_on_cuda(machine) == reason  # the next start finds it built, and proves it again
    assert machine.builder.n_begun == 1


def test_missing_library_is_the_reason(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise ConfigError("libnvinfer.so.10: cannot open shared object file")

    monkeypatch.setattr(upgrade, "require_tensorrt", missing)
    assert settled_on_cuda(machine) == "libnvinfer.so.10: cannot open shared object file"


def test_surprise_on_the_way_is_told_too(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def surprise() -> str:
        raise KeyError("secret")

    monkeypatch.setattr(upgrade, "require_tensorrt", surprise)
    assert settled_on_cuda(machine) == "it failed unexpectedly: KeyError"


@pytest.mark.parametrize("damage", ["on the disk", "before it was written"])
def test_engines_that_were_damaged_are_built_anew(damage: str, machine: Machine) -> None:
    with machine.app() as client:
        wait_until_settled(client)
    (kept,) = machine.kept()
    engine = next(kept.glob("image_encoder*.engine"))
    engine.write_bytes(b"no engine")
    if damage != "on the disk":  # its hash is right, and TensorRT cannot read it
        record = json.loads((kept / "built.json").read_text())
        record["files"] |= {engine.name: hashlib.sha256(b"no engine").hexdigest()}
        (kept / "built.json").write_text(json.dumps(record))
    with machine.app() as client:
        assert wait_until_settled(client)["provider"] == TENSORRT
    assert machine.builder.n_begun == 2
    assert engine.read_bytes() == b"an engine"


def test_server_that_stops_does_not_wait_for_its_engines(machine: Machine) -> None:
    machine.builder.may_go_on.clear()  # for ever: a stop that waited would not end
    with machine.app() as client:
        assert running(client)["tensorrt"]["state"] == "building"
        deadline = time.monotonic() + WAIT_S
        while not machine.builder.n_begun:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert machine.builder.n_cancelled == 1
    assert machine.kept() == []


def hold_up(at: str, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, ...]:
    """Whether a load or a proof of engines that are kept is at that point, and what lets it go on."""
    inside, may_go_on = threading.Event(), threading.Event()

    def held() -> None:
        inside.set()
        assert may_go_on.wait(WAIT_S)

    if at == "load":
        machine.tensorrt.on_found = held
        return inside, may_go_on
    proof = getattr(upgrade, at)

    def held_proof(*given: Any) -> Any:
        held()
        return proof(*given)

    monkeypatch.setattr(upgrade, at, held_proof)
    return inside, may_go_on


@pytest.mark.parametrize("at", ["load", "check_golden", "require_agreement"])
def test_server_that_stops_beside_a_load_or_a_proof_does_not_wait_and_frees_the_engines_in_their_turn(
    at: str, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_bundle(machine.folder / "repo")
    bundle = verify_bundle(ModelRepository(machine.folder / "repo"), TINY, 1)
    loaded = load_precision(bundle, "fp32", device="cuda", n_threads=1)
    runner = Runner(loaded.encoder, loaded.running, loaded.encoder.close)
    made = upgrade.TensorRtUpgrade(
        loaded,
        runner,
        identity="tiny",
        cache_dir=machine.folder / "cache",
        build=machine.builder,
        on_change=lambda: None,
    )
    inside, may_go_on = hold_up(at, machine, monkeypatch)
    n_ran: list[int] = []

    async def stopped() -> None:
        task = asyncio.create_task(made.run())
        assert await asyncio.to_thread(inside.wait, WAIT_S)
        machine.cuda.freed.clear()  # the builder's, which runs in this process here
        n_ran.append(len(machine.tensorrt.shapes))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, WAIT_S / 2)  # while it is held up, for all that it waits
        assert machine.cuda.freed == []
        may_go_on.set()

    try:
        asyncio.run(stopped())  # which waits for its threads
    finally:
        may_go_on.set()
    assert machine.cuda.freed == [True, True], "both towers, where nothing could capture"
    assert n_ran == [len(machine.tensorrt.shapes)], "nothing was proven any more"
    assert runner.running().provider == CUDA
    assert len(runner.encode_image(bundle.golden.pixels)) == len(bundle.golden.pixels)


def test_what_cuda_served_with_is_freed(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[Any]] = []
    open_encoder = upgrade.LoadedBundle.running

    def remembered(loaded: Any) -> Any:
        if not made:
            made.append(weakref.ref(loaded.encoder))
        return open_encoder(loaded)

    monkeypatch.setattr(upgrade.LoadedBundle, "running", remembered)
    with machine.app() as client:
        assert wait_until_settled(client)["provider"] == TENSORRT
        vectors(client)
        deadline = time.monotonic() + WAIT_S
        while made[0]() is not None:
            assert time.monotonic() < deadline, "it is held"
            time.sleep(0.01)
        # The first two are the builder's, which runs in this process here.
        assert machine.cuda.freed[2:] == [True, True], "both towers, where no capture could run"


def test_version_that_moves_its_bytes_is_read_by_tensorrt_too(machine: Machine) -> None:
    write_moved_bytes_bundle(machine.folder / "model_repo", machine.folder / "plain")
    with machine.app() as client:
        expected = vectors(client)
        assert wait_until_settled(client)["provider"] == TENSORRT
        np.testing.assert_allclose(vectors(client), expected, atol=1e-6)


def test_version_whose_texts_are_read_at_their_largest_id_is_read_rightly_by_tensorrt(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_largest_id_bundle(machine.folder / "model_repo", machine.folder / "plain")
    with machine.app() as client:
        expected = vectors(client)
        assert wait_until_settled(client)["provider"] == TENSORRT
        np.testing.assert_allclose(vectors(client), expected, atol=1e-6)
    # The trap is there: without the rewrite the engine is wrong, and caught.
    monkeypatch.setattr(gpu_graphs, "replace_integer_argmax", lambda model, max_length: 0)
    monkeypatch.setattr(upgrade, "GRAPHS_REVISION", 0)
    assert re.match(r"golden text \d: cosine is -1", settled_on_cuda(machine))


def test_missing_package_that_rewrites_graphs_is_the_reason(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_bundle(machine.folder / "model_repo")
    monkeypatch.delitem(sys.modules, "diptych.adapters.gpu_graphs", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with machine.app() as client:
        found = wait_until_settled(client)
    assert found["provider"] == CUDA
    assert "by the package onnx, which is missing" in found["tensorrt"]["reason"]


def test_it_is_said_where_there_is_no_gpu_and_not_where_nobody_asked(machine: Machine) -> None:
    with machine.app(device="cpu") as client:
        assert running(client)["tensorrt"] == {"state": "unavailable", "reason": "the encoders run on a CPU"}
        assert running(client)["cuda_graphs"] is None
    with machine.app(tensorrt="off") as client:
        assert running(client)["tensorrt"] is None
    assert machine.builder.n_begun == 0


def test_precision_of_a_single_collection_stays_on_cuda_and_says_so(machine: Machine) -> None:
    write_tiny_bundle(machine.folder / "model_repo", precisions={"fp32": "equal", "fp16": "equal"})
    with machine.app(precision="fp16", collection_precision="fp16") as client:
        assert client.post("/collections", json={"name": "exact", "precision": "fp32"}).status_code == 201
        wait_until_settled(client)
        (model,) = client.get("/models").json()["models"]
        n_before, deadline = len(machine.cuda.freed), time.monotonic() + WAIT_S
        assert client.delete("/collections/exact").status_code < 300
        while len(machine.cuda.freed) < n_before + 2:
            assert time.monotonic() < deadline, "it is held"
            time.sleep(0.01)
        # The first two are the builder's, which runs in this process here.
        assert machine.cuda.freed[2:] == [True] * 4, "where no capture could run"
        found = {row["precision"]: row for row in model["serving"]["running"]}
    assert found["fp16"]["provider"] == TENSORRT
    assert found["fp32"]["provider"] == CUDA
    assert found["fp32"]["tensorrt"] == {
        "state": "unavailable",
        "reason": "it is for the server's own precisions",
    }

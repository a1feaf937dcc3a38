"""CUDA serves while TensorRT engines are built, and keeps serving if that fails. Both are fakes."""

import asyncio
import re
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from diptych.adapters.onnxruntime import gpu_graph_rewrites
from diptych.adapters.tensorrt import build, library
from diptych.adapters.tensorrt.build import PlanJob
from diptych.errors import BundleError
from diptych.wiring import version_loader
from support.app import running_app
from support.fake_onnxruntime import CUDA, FakeCuda
from support.fake_tensorrt import FakeTensorrt
from support.largest_id import write_largest_id_bundle
from support.moved_bytes import write_moved_bytes_bundle
from support.pictures import noise
from support.tiny_bundle import CONTEXT_LENGTH, IMAGE_SIZE, write_tiny_bundle

TENSORRT = "TensorRT"
WAIT_S = 30.0
ITEMS = [("image", (f"{n}.png", noise(n))) for n in range(5)] + [("text", (None, "red thing"))]


@dataclass
class Builder:
    """Builds in this process, when allowed, instead of in a child process."""

    may_go_on: threading.Event = field(default_factory=threading.Event)
    n_begun: int = 0
    n_cancelled: int = 0
    dies: bool = False

    async def __call__(self, jobs: Sequence[PlanJob]) -> None:
        self.n_begun += 1
        try:
            while not self.may_go_on.is_set():  # noqa: ASYNC110 - another thread sets it
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.n_cancelled += 1
            raise
        if self.dies:
            await asyncio.to_thread(build.build, jobs[:1])
            raise BundleError("the builder ended with signal 11: it printed nothing")
        await asyncio.to_thread(build.build, jobs)


@dataclass
class Machine:
    """A machine with a GPU and TensorRT."""

    cuda: FakeCuda
    tensorrt: FakeTensorrt
    builder: Builder
    folder: Path

    def app(self, **given: Any) -> Any:
        """Run a server on the machine. Engines are kept between servers."""
        options = {"device": "cuda", "tensorrt": "auto", "cache_dir": self.folder / "cache"}
        return running_app(self.folder, **(options | given))

    def kept(self) -> list[Path]:
        """Return the files in the engine folder."""
        return sorted(file for file in self.folder.glob("cache/**/*") if file.is_file())


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    cuda, builder = FakeCuda().install(monkeypatch), Builder()
    builder.may_go_on.set()
    tensorrt = FakeTensorrt(cuda.gpu).install(monkeypatch)
    monkeypatch.setattr(version_loader, "build_in_child", builder)
    return Machine(cuda, tensorrt, builder, tmp_path)


def running(client: TestClient) -> dict[str, Any]:
    (model,) = client.get("/models").json()["models"]
    return dict(model["serving"]["running"])


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


def test_cuda_serves_until_engines_are_built_and_proven(machine: Machine) -> None:
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
        assert (found["provider"], found["cuda_graphs"]) == (TENSORRT, None)
        assert found["tensorrt"]["state"] == "serving"
        assert found["tensorrt"]["reason"].startswith("TensorRT 10.16.1.11, engines built in ")
        assert client.get("/version").json()["provider"] == TENSORRT
        assert f'precision="fp32",provider="{TENSORRT}"' in client.get("/metrics").text
        assert CUDA not in client.get("/metrics").text
        n_before = len(machine.tensorrt.ran)
        np.testing.assert_allclose(vectors(client), expected, atol=1e-6)
        assert len(machine.tensorrt.ran) > n_before
        deadline = time.monotonic() + WAIT_S
        while machine.cuda.n_freed < 2:  # both towers of what CUDA served with
            assert time.monotonic() < deadline, "it is held"
            time.sleep(0.01)


def test_engines_are_proven_in_every_shape_that_batches_have(machine: Machine) -> None:
    with machine.app(max_batch_size=4) as client:
        assert wait_until_settled(client)["provider"] == TENSORRT
    shapes = {shape for _, shape in machine.tensorrt.ran}
    assert {(size, IMAGE_SIZE, IMAGE_SIZE, 3) for size in (1, 2, 4)} <= shapes
    assert {(size, length) for size in (1, 2, 4) for length in (8, 16, CONTEXT_LENGTH)} <= shapes
    profiles = {built["input"]: built["profiles"] for built in machine.tensorrt.built}
    assert profiles["input_ids"] == [[[1, 2], [4, 16], [4, CONTEXT_LENGTH]]]
    assert all(built["workspace"] == 1 << 30 and not built["tf32"] for built in machine.tensorrt.built)


def test_next_start_reuses_the_engines_unless_batch_sizes_change(machine: Machine) -> None:
    with machine.app() as client:
        wait_until_settled(client)
    kept = machine.kept()
    assert [file.parent.name for file in kept] == ["a-card-10.16.1.11"] * 2
    with machine.app() as client:
        found = wait_until_settled(client)
    assert found["tensorrt"] == {
        "state": "serving",
        "reason": "TensorRT 10.16.1.11, engines from an earlier start",
    }
    assert machine.builder.n_begun == 1
    with machine.app(max_batch_size=8) as client:
        assert wait_until_settled(client)["tensorrt"]["state"] == "serving"
    assert machine.builder.n_begun == 2
    assert len(machine.kept()) == 2
    assert not set(kept) & set(machine.kept()), "what is of no use any more is gone"


def settled_on_cuda(machine: Machine) -> str:
    """Return the reason why CUDA keeps serving. Requests are answered."""
    with machine.app() as client:
        found = wait_until_settled(client)
        assert (found["provider"], found["tensorrt"]["state"]) == (CUDA, "unavailable")
        assert len(vectors(client)) == len(ITEMS)
        assert client.get("/version").json()["provider"] == CUDA
    return str(found["tensorrt"]["reason"])


def test_build_that_fails_leaves_cuda_serving_and_says_why(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.tensorrt.refuses = "no implementation for node Gemm"
    reason = settled_on_cuda(machine)
    assert reason == "TensorRT cannot build a plan of image_encoder.onnx: no implementation for node Gemm"
    assert f"fp32 is not served by TensorRT, CUDA keeps serving it: {reason}" in caplog.text
    assert machine.kept() == []


def test_crashed_builder_leaves_no_engine_in_use(machine: Machine) -> None:
    machine.builder.dies = True
    assert settled_on_cuda(machine) == "the builder ended with signal 11: it printed nothing"
    assert len(machine.kept()) == 1
    machine.builder.dies = False
    with machine.app() as client:
        assert wait_until_settled(client)["provider"] == TENSORRT
    assert len(machine.kept()) == 2


@pytest.mark.parametrize(("tower", "source"), [("image", "pixels"), ("text", "input_ids")])
def test_engine_with_other_vectors_never_serves(tower: str, source: str, machine: Machine) -> None:
    machine.tensorrt.wrong_inputs = {source}
    reason = settled_on_cuda(machine)
    assert re.search(rf"golden {tower} \d: cosine is -1\.000000", reason)
    assert settled_on_cuda(machine) == reason  # the next start finds it built, and proves it again
    assert machine.builder.n_begun == 1


def test_engine_that_is_wrong_only_in_large_batches_never_serves(machine: Machine) -> None:
    machine.tensorrt.turns_large_batches = 4
    assert re.match(
        r"images in a batch of 8, item \d: cosine to the encoder that serves is -1", settled_on_cuda(machine)
    )


def test_missing_tensorrt_or_folder_is_the_reason(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine.folder / "cache").write_bytes(b"no folder")
    assert re.match(r"the engine folder .*cache.* cannot be used: Not a directory", settled_on_cuda(machine))
    library.load_tensorrt.cache_clear()
    for name in library.MODULES:
        monkeypatch.setitem(sys.modules, name, None)  # as when it is not installed
    assert settled_on_cuda(machine).startswith("TensorRT is not installed: install server[tensorrt]")


def test_damaged_engine_is_built_again(machine: Machine) -> None:
    with machine.app() as client:
        wait_until_settled(client)
    image, _ = machine.kept()
    whole = image.read_bytes()
    image.write_bytes(b"no engine")
    with machine.app() as client:
        assert wait_until_settled(client)["provider"] == TENSORRT
    assert machine.builder.n_begun == 2
    assert image.read_bytes() == whole


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


def test_tensorrt_reads_a_version_with_external_weights(machine: Machine) -> None:
    write_moved_bytes_bundle(machine.folder / "model_repo", machine.folder / "plain")
    with machine.app() as client:
        expected = vectors(client)
        assert wait_until_settled(client)["provider"] == TENSORRT
        np.testing.assert_allclose(vectors(client), expected, atol=1e-6)


def test_version_whose_texts_are_read_at_their_largest_id_is_read_rightly_by_tensorrt(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.tensorrt.pools_wrongly = True
    write_largest_id_bundle(machine.folder / "model_repo", machine.folder / "plain")
    with machine.app() as client:
        expected = vectors(client)
        assert wait_until_settled(client)["provider"] == TENSORRT
        np.testing.assert_allclose(vectors(client), expected, atol=1e-6)
    # The trap is there: without the rewrite the engine is wrong, and caught.
    monkeypatch.setattr(gpu_graph_rewrites, "replace_argmax_by_reductions", lambda model: 0)
    for file in machine.kept():
        file.unlink()
    assert re.match(r"golden text \d: cosine is ", settled_on_cuda(machine))


def test_missing_package_that_rewrites_graphs_is_the_reason(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_bundle(machine.folder / "model_repo")
    monkeypatch.delattr("diptych.adapters.onnxruntime.gpu_graph_rewrites")
    monkeypatch.delitem(sys.modules, "diptych.adapters.onnxruntime.gpu_graph_rewrites", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with machine.app() as client:
        found = wait_until_settled(client)
    assert found["provider"] == CUDA
    assert "the package onnx, which rewrites graphs, is missing" in found["tensorrt"]["reason"]


def test_missing_gpu_is_reported_only_if_tensorrt_is_requested(machine: Machine) -> None:
    with machine.app(device="cpu") as client:
        assert running(client)["tensorrt"] == {"state": "unavailable", "reason": "the encoders run on a CPU"}
        assert running(client)["cuda_graphs"] is None
    with machine.app(tensorrt="off") as client:
        assert running(client)["tensorrt"] is None
    assert machine.builder.n_begun == 0

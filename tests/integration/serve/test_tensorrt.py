"""TensorRT serves once `diptych check --tensorrt` has built its engines; else CUDA does. Both are fakes."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from diptych.adapters.onnxruntime import tensorrt_graph
from diptych.cli import main
from support.app import running_app
from support.fake_onnxruntime import CUDA, TENSORRT, FakeCuda
from support.largest_id import write_largest_id_bundle
from support.pictures import noise
from support.tiny_bundle import write_tiny_bundle

ITEMS = [("image", (f"{n}.png", noise(n))) for n in range(5)] + [("text", (None, "red thing"))]


@dataclass
class Machine:
    """A machine with a GPU and TensorRT, and the tiny model."""

    cuda: FakeCuda
    folder: Path

    def app(self, **given: Any) -> Any:
        """Run a server on the machine."""
        return running_app(
            self.folder, **({"device": "cuda", "tensorrt": "auto", "max_batch_size": 4} | given)
        )

    def check(self, *flags: str) -> int:
        """Run `diptych check`."""
        return main(["check", *flags, "--model-repo", str(self.folder / "model_repo")])

    def kept(self) -> list[Path]:
        """Return the files in the cache folder."""
        return sorted(file for file in self.folder.glob("cache/**/*") if file.is_file())


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setenv("DIPTYCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("DIPTYCH_DEVICE", "cuda")
    return Machine(FakeCuda().install(monkeypatch), tmp_path)


@pytest.fixture
def tiny(machine: Machine) -> Machine:
    write_tiny_bundle(machine.folder / "model_repo")
    return machine


def running(client: TestClient) -> dict[str, Any]:
    (model,) = client.get("/models").json()["models"]
    return dict(model["serving"]["running"])


def vectors(client: TestClient) -> Any:
    answer = client.post("/embed", files=ITEMS)
    assert answer.status_code == 200, answer.text
    return [row["embedding"] for row in answer.json()["data"]]


def reason_for_cuda(machine: Machine, **given: Any) -> str:
    """Return the reason why CUDA serves. Requests are answered."""
    with machine.app(**given) as client:
        found = running(client)
        assert (found["provider"], found["tensorrt"]["state"]) == (CUDA, "unavailable")
        assert len(vectors(client)) == len(ITEMS)
    return str(found["tensorrt"]["reason"])


def test_start_without_engines_serves_on_cuda_and_says_what_to_run(
    tiny: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    reason = reason_for_cuda(tiny)
    assert re.fullmatch(
        r"there are no engines for A card, TensorRT 10\.16\.2, onnxruntime \S+ and batches of up to 256: "
        "run `diptych check --tensorrt`",
        reason,
    )
    assert f"fp32 is not served by TensorRT, CUDA serves it: {reason}" in caplog.text
    assert (tiny.cuda.n_built, tiny.kept()) == (0, [])


def test_check_builds_engines_that_the_next_start_serves_with(
    tiny: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    with tiny.app(tensorrt="off") as client:
        assert running(client)["tensorrt"] is None
        expected = vectors(client)
    assert tiny.check("--tensorrt") == 0
    assert re.search(
        r"^  fp32 in TensorRT, ready: engines for A card, .* built in \d+ s$", capsys.readouterr().out, re.M
    )
    assert tiny.cuda.n_built == 2
    with tiny.app() as client:
        found = running(client)
        assert (found["provider"], found["tensorrt"]["state"]) == (TENSORRT, "serving")
        assert client.get("/version").json()["provider"] == TENSORRT
        metrics = client.get("/metrics").text
        assert f'precision="fp32",provider="{TENSORRT}"' in metrics
        assert CUDA not in metrics
        np.testing.assert_allclose(vectors(client), expected, atol=1e-6)
    assert tiny.cuda.n_built == 2, "none at the start"
    assert tiny.check("--tensorrt") == 0
    assert "built before" in capsys.readouterr().out
    assert tiny.cuda.n_built == 2


def test_engine_that_is_wrong_only_in_large_batches_never_serves(
    tiny: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.cuda.turns_from = 16
    assert tiny.check("--tensorrt") == 1
    assert "images in a batch of 16, item 0: cosine to its golden output is -1" in capsys.readouterr().out
    assert tiny.kept() == []
    tiny.cuda.turns_from = 0
    assert tiny.check("--tensorrt") == 0
    tiny.cuda.turns_from = 16
    assert "images in a batch of 16, item 0" in reason_for_cuda(tiny)


@pytest.mark.parametrize("change", ["gpu", "tensorrt", "max_batch_size"])
def test_engines_of_another_machine_release_or_size_do_not_serve(change: str, tiny: Machine) -> None:
    assert tiny.check("--tensorrt") == 0
    given = {}
    if change == "gpu":
        tiny.cuda.gpu.name = "Another card"
    elif change == "tensorrt":
        tiny.cuda.tensorrt = "10.17.0"
    else:
        given = {"max_batch_size": 512}
    assert "run `diptych check --tensorrt`" in reason_for_cuda(tiny, **given)


def test_build_that_fails_says_why_and_leaves_nothing(
    tiny: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.cuda.tensorrt_fails_with = RuntimeError("no implementation for node Gemm")
    assert tiny.check("--tensorrt") == 1
    assert "no implementation for node Gemm" in capsys.readouterr().out
    tiny.cuda.tensorrt_fails_with, tiny.cuda.keeps_engines = None, False
    assert tiny.check("--tensorrt") == 1
    assert "onnxruntime has kept no engine in" in capsys.readouterr().out
    assert tiny.kept() == []


def test_version_whose_texts_are_read_at_their_largest_id_is_read_rightly(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_largest_id_bundle(machine.folder / "model_repo", machine.folder / "plain")
    with machine.app(tensorrt="off") as client:
        expected = vectors(client)
    assert machine.check("--tensorrt") == 0
    with machine.app() as client:
        assert running(client)["provider"] == TENSORRT
        np.testing.assert_allclose(vectors(client), expected, atol=1e-6)
    # The trap is there: without the rewrite the engine is wrong, and caught.
    monkeypatch.setattr(tensorrt_graph, "replace_argmax_by_reductions", lambda model: 0)
    assert machine.check("--tensorrt") == 1
    assert re.search(r"golden text \d: cosine is ", capsys.readouterr().out)

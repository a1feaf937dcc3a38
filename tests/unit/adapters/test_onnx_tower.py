"""Runs that are captured as CUDA graphs, and what becomes of those that cannot be, by `FakeCuda`."""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from diptych.adapters import onnx_tower
from diptych.adapters.gpu_gate import GATE
from diptych.adapters.onnx_binding import Shapes
from diptych.adapters.onnx_encoder import IMAGE_EMBEDDING, INPUT_IDS, PIXELS, TEXT_EMBEDDING
from diptych.adapters.onnx_tower import Tower
from diptych.errors import BundleError, ConfigError, EncoderFailed
from support.fake_cuda import FakeCuda, GpuValue
from support.tiny_graphs import image_graph, make_weights

WORDS = {word: n for n, word in enumerate(("pad", "red", "green", "blue", "yellow", "black", "white"))}
RANDOM = np.random.default_rng(0)


def pixels(n_items: int) -> NDArray[np.uint8]:
    return RANDOM.integers(0, 256, (n_items, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("graphs") / "image.onnx"
    onnx.save(image_graph(make_weights(WORDS, 0, image_size=8, embed_dim=16, seed=0)), file)
    return file


def tower(file: Path, *, captures: bool = True) -> Tower:
    shapes = Shapes((1, 2, 4, 8))
    return Tower(file, PIXELS, IMAGE_EMBEDDING, n_threads=1, device="cuda", shapes=shapes, captures=captures)


def assert_right(found: Tower, file: Path, n_items: int) -> None:
    batch = pixels(n_items)
    on_cpu = Tower(file, PIXELS, IMAGE_EMBEDDING, n_threads=1, device="cpu", shapes=Shapes(()), captures=True)
    np.testing.assert_allclose(found.run(batch, None), on_cpu.run(batch, None), atol=1e-6)


def test_callers_of_many_threads_share_the_graphs_of_one(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda().install(monkeypatch)
    found, batches = tower(file), [pixels(1 + n % 8) for n in range(40)]
    alone = tower(file, captures=False)
    expected = [alone.run(batch, None) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda batch: found.run(batch, None), batches))
    for one, other in zip(rows, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert len({thread for thread, _ in cuda.captured}) == 1
    assert len(cuda.captured) == 4
    assert found.why_not_captured == ""


def test_captures_of_one_tower_do_not_meet_runs_of_the_other(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeCuda().install(
        monkeypatch
    )  # whose captures fail beside any run, and whose runs fail beside a capture
    found, other, done = tower(file), tower(file, captures=False), threading.Event()

    def go_on() -> None:
        while not done.is_set():
            other.run(pixels(2), None)

    with ThreadPoolExecutor(2) as pool:
        busy = [pool.submit(go_on), pool.submit(go_on)]
        for n_items in (1, 2, 4, 8):
            found.run(pixels(n_items), None)
        done.set()
        for future in busy:
            future.result(10)
    assert found.why_not_captured == ""


def test_serving_tower_waits_for_no_load_however_many_captures_wait_for_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = FakeCuda().install(monkeypatch)
    serving, begun, may_end = tower(file, captures=False), threading.Event(), threading.Event()
    further, expected = tower(file), serving.run(batch := pixels(2), None)

    def load() -> None:
        begun.set()
        assert may_end.wait(10)

    cuda.on_load = load
    with ThreadPoolExecutor(3) as pool:
        try:
            loading = pool.submit(tower, file, captures=False)
            assert begun.wait(10)
            capture = pool.submit(further.run, batch, None)
            while not GATE._n_captures:
                time.sleep(0.001)
            for _ in range(3):
                np.testing.assert_array_equal(pool.submit(serving.run, batch, None).result(5), expected)
            assert not capture.done()
        finally:
            may_end.set()
        loading.result(10)
        np.testing.assert_allclose(capture.result(10), expected, atol=1e-6)
    assert further.why_not_captured == ""


def test_tower_whose_capture_gets_no_turn_runs_without_and_says_why(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cuda = FakeCuda().install(monkeypatch)
    monkeypatch.setattr(GATE, "_within_s", 0.01)
    found = tower(file)
    with GATE.while_loading():
        assert_right(found, file, 3)
    reason = "the GPU had no moment for a capture within 0.01 s, as something else was being loaded"
    assert found.why_not_captured == reason
    assert f"image.onnx: batches run without CUDA graphs: {reason}" in caplog.text
    assert cuda.freed == [True], "what it was to capture with"
    assert_right(found, file, 8)
    assert cuda.captured == []


def test_graph_with_operators_on_the_cpu_runs_uncaptured_and_says_why(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cuda = FakeCuda(cpu_operators=("Cast",)).install(monkeypatch)
    found = tower(file)
    assert "not been partitioned to the CUDAExecutionProvider" in found.why_not_captured
    assert "image.onnx: batches run without CUDA graphs: image.onnx does not load" in caplog.text
    assert found.provider == "CUDAExecutionProvider"
    assert_right(found, file, 3)
    assert cuda.captured == []


def test_capture_that_fails_costs_no_batch_and_is_not_tried_again(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cuda = FakeCuda(capture_fails="CUDA failure 901: capture was invalidated").install(monkeypatch)
    lost: list[object] = []
    monkeypatch.setattr(onnx_tower, "_LOST", lost)
    found = tower(file)
    for n_items in (3, 8, 1):
        assert_right(found, file, n_items)
    assert found.why_not_captured == (
        "shape (4, 8, 8, 3) cannot be captured: CUDA failure 901: capture was invalidated"
    )
    assert caplog.text.count("batches run without CUDA graphs") == 1
    assert len(lost) == 1  # never freed: it may be capturing still
    assert len(cuda.options) == 2


def test_callers_that_wait_while_a_capture_fails_get_their_rows(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeCuda(capture_fails="CUDA failure 901").install(monkeypatch)
    monkeypatch.setattr(onnx_tower, "_LOST", [])
    found, batches = tower(file), [pixels(1 + n % 8) for n in range(16)]
    expected = [tower(file, captures=False).run(batch, None) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda batch: found.run(batch, None), batches))
    for one, other in zip(rows, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_batch_that_is_stopped_while_it_is_captured_fails_and_the_next_one_runs(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeCuda().install(monkeypatch)
    monkeypatch.setattr(onnx_tower, "_LOST", [])
    found = tower(file)
    with pytest.raises(EncoderFailed, match="the encoder raised CaptureFailed on a batch of 2"):
        found.run(pixels(2), lambda stop: stop())
    assert_right(found, file, 2)


@pytest.mark.parametrize("captures", [True, False])
def test_closed_tower_is_freed_where_nothing_captures_whoever_holds_it_or_its_errors(
    file: Path, monkeypatch: pytest.MonkeyPatch, captures: bool
) -> None:
    cuda = FakeCuda().install(monkeypatch)
    found = tower(file, captures=captures)
    found.run(pixels(2), None)
    with pytest.raises(EncoderFailed) as told:
        found.run(pixels(2)[:, :7], None)
    assert cuda.freed == []
    with ThreadPoolExecutor(1) as pool:
        with GATE.alone():
            closing = pool.submit(found.close)
            time.sleep(0.02)
            assert cuda.freed == []
        closing.result(10)
    assert told.value.__cause__ is not None
    assert cuda.freed and all(cuda.freed)
    with pytest.raises(EncoderFailed, match="EncoderFailed on a batch of 2"):
        found.run(pixels(2), None)
    found.close()


@pytest.mark.parametrize("captures", [True, False])
def test_session_whose_ports_are_refused_is_freed_where_nothing_captures(
    file: Path, monkeypatch: pytest.MonkeyPatch, captures: bool
) -> None:
    cuda = FakeCuda().install(monkeypatch)
    with pytest.raises(BundleError, match=r"image\.onnx: the output must be") as told:
        Tower(
            file,
            PIXELS,
            TEXT_EMBEDDING,
            n_threads=1,
            device="cuda",
            shapes=Shapes((1,)),
            captures=captures,
        )
    assert told.value.__traceback__ is not None  # whose frames would hold it
    assert cuda.freed == [True]


def test_sessions_that_cannot_capture_or_compute_are_freed_where_nothing_captures(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    operators = {node.op_type for node in onnx.load(file).graph.node}
    cuda = FakeCuda(cpu_operators=tuple(operators)).install(monkeypatch)
    with pytest.raises(ConfigError, match="runs no operator of it") as told:
        tower(file)
    assert told.value.__traceback__ is not None
    assert cuda.freed == [True, True]


def test_buffers_of_a_batch_that_fails_are_freed_where_nothing_captures(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeCuda().install(monkeypatch)
    found, freed = tower(file, captures=False), list[bool]()
    monkeypatch.setattr(GpuValue, "__del__", lambda _: freed.append(bool(GATE._n_calls)), raising=False)
    monkeypatch.setattr("onnxruntime.IOBinding.bind_ortvalue_output", _no_memory)
    with pytest.raises(EncoderFailed, match="raised MemoryError on a batch of 2") as told:
        found.run(pixels(2), None)
    assert told.value.__cause__ is not None
    assert freed == [True]


def _no_memory(*_: object) -> None:
    raise MemoryError


def test_fitting_keeps_graphs_in_their_thread(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda().install(monkeypatch)
    found = tower(file)
    for n_items in (2, 8):
        found.run(pixels(n_items), None)
    found.fit((1, 2, 3))
    assert cuda.released == [2]
    for n_items in (3, 3, 2):
        assert_right(found, file, n_items)
    assert [number for _, number in cuda.captured] == ["1", "2", "3"]


def default_text_file() -> Path:
    bundles = (Path(__file__).parents[3] / "model_repo" / "pictograms").iterdir()
    return max(bundles, key=lambda folder: int(folder.name)) / "text_encoder.onnx"


def text_tower(file: Path) -> Tower:
    shapes = Shapes((1, 2))
    return Tower(file, INPUT_IDS, TEXT_EMBEDDING, n_threads=1, device="cuda", shapes=shapes, captures=True)


def test_text_tower_that_is_read_at_its_largest_id_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda().install(monkeypatch)
    found = text_tower(default_text_file())
    assert found.why_not_captured == ""
    found.run(np.array([[1, 2, 3]], np.int32), None)
    assert len(cuda.captured) == 1


def test_text_tower_is_not_captured_where_nothing_rewrites_its_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda().install(monkeypatch)
    monkeypatch.delitem(sys.modules, "diptych.adapters.gpu_graphs", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    found = text_tower(default_text_file())
    assert "not been partitioned to the CUDAExecutionProvider" in found.why_not_captured
    assert len(found.run(np.array([[1, 2, 3]], np.int32), None)) == 1


def test_graph_that_is_rewritten_finds_its_weights_in_a_file_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeCuda().install(monkeypatch)
    file, ids = tmp_path / "text.onnx", np.array([[1, 2, 3]], np.int32)
    onnx.save(onnx.load(default_text_file()), file, save_as_external_data=True, location="weights")
    expected = text_tower(default_text_file()).run(ids, None)
    np.testing.assert_array_equal(text_tower(file).run(ids, None), expected)
    assert (tmp_path / "weights").stat().st_size > 10 * file.stat().st_size

"""One graph on a simulated GPU: what is captured as CUDA graphs, and how the rest runs."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from diptych.adapters.cuda.capture_lock import CAPTURE_LOCK
from diptych.adapters.onnxruntime.encoder import IMAGE_EMBEDDING, INPUT_IDS, PIXELS, TEXT_EMBEDDING
from diptych.adapters.onnxruntime.gpu_run import Shapes
from diptych.adapters.onnxruntime.tower import Tower
from diptych.errors import BundleError, ConfigError, EncoderFailed
from support.clip_graphs import clip_text_graph
from support.fake_onnxruntime import FakeCuda
from support.tiny_graphs import COLOURS, image_graph, image_reference, make_weights

WEIGHTS = make_weights(
    {word: n for n, word in enumerate(("pad", *COLOURS))}, 0, image_size=8, embed_dim=16, seed=0
)
RANDOM = np.random.default_rng(0)
SIZES = (1, 2, 4, 8)


def pixels(n_items: int) -> NDArray[np.uint8]:
    return RANDOM.integers(0, 256, (n_items, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("graphs") / "image.onnx"
    onnx.save(image_graph(WEIGHTS), file)
    return file


def tower(file: Path, *, captures: bool = True) -> Tower:
    shapes = Shapes(SIZES)
    return Tower(file, PIXELS, IMAGE_EMBEDDING, n_threads=1, device="cuda", shapes=shapes, captures=captures)


def assert_right(found: Tower, n_items: int) -> None:
    batch = pixels(n_items)
    np.testing.assert_allclose(found.run(batch, None), image_reference(WEIGHTS, batch), atol=1e-5)


def test_captures_do_not_overlap_runs_of_another_tower(file: Path, cuda: FakeCuda) -> None:
    """The captures of the stand-in fail beside any run, and its runs fail beside a capture."""
    found, other, done = tower(file), tower(file, captures=False), threading.Event()

    def go_on() -> None:
        while not done.is_set():
            other.run(pixels(2), None)

    with ThreadPoolExecutor(2) as pool:
        busy = [pool.submit(go_on), pool.submit(go_on)]
        found.capture([pixels(size) for size in SIZES])
        done.set()
        for future in busy:
            future.result(10)
    assert found.why_not_captured == ""
    assert len(cuda.captured) == 4


def test_capture_does_nothing_for_a_tower_without_captures(file: Path, cuda: FakeCuda) -> None:
    found = tower(file, captures=False)
    found.capture([pixels(2)])
    assert_right(found, 2)
    assert (cuda.captured, found.why_not_captured) == ([], "")


def test_graph_with_cpu_operators_runs_uncaptured_and_says_why(
    file: Path, cuda: FakeCuda, caplog: pytest.LogCaptureFixture
) -> None:
    cuda.cpu_operators = ("Cast",)
    found = tower(file)
    assert "not been partitioned to the CUDAExecutionProvider" in found.why_not_captured
    assert f"batches run without CUDA graphs: {found.why_not_captured}" in caplog.text
    found.capture([pixels(2)])
    assert_right(found, 3)
    assert (len(cuda.options), cuda.captured) == (2, [])


def test_tower_is_reopened_after_a_failed_capture_whose_session_is_not_freed(
    file: Path, cuda: FakeCuda
) -> None:
    cuda.capture_fails = "CUDA failure 901: operation failed due to a previous error during capture"
    found = tower(file)
    assert_right(found, 2)
    found.capture([pixels(size) for size in SIZES])
    assert found.why_not_captured == f"a batch cannot be captured: {cuda.capture_fails}"
    for n_items in (1, 3, 9):
        assert_right(found, n_items)
    found.close()
    assert (len(cuda.options), cuda.n_freed) == (2, 1)


def test_replay_with_other_rows_is_reported_and_not_used(
    file: Path, cuda: FakeCuda, caplog: pytest.LogCaptureFixture
) -> None:
    cuda.wrong_shapes.add((2, 8, 8, 3))
    found = tower(file)
    found.capture([pixels(size) for size in SIZES])
    assert found.why_not_captured.startswith("a replay of shape (2, 8, 8, 3) differs: item ")
    assert found.why_not_captured in caplog.text
    for size in SIZES:
        assert_right(found, size)


@pytest.mark.parametrize("captures", [True, False])
def test_closed_tower_is_freed_while_nothing_is_captured(file: Path, cuda: FakeCuda, captures: bool) -> None:
    found = tower(file, captures=captures)
    found.capture([pixels(2)])
    with pytest.raises(EncoderFailed) as told:
        found.run(pixels(2)[:, :7], None)
    with ThreadPoolExecutor(1) as pool:
        with CAPTURE_LOCK.capture():
            closing = pool.submit(found.close)
            assert not _ends(closing)
            assert cuda.n_freed == 0
        closing.result(10)
    del told
    assert cuda.n_freed == 1
    with pytest.raises(EncoderFailed, match="the encoder raised RuntimeError on a batch of 2"):
        found.run(pixels(2), None)
    found.close()


def _ends(future: "object") -> bool:
    try:
        future.result(0.05)  # type: ignore[attr-defined]
    except TimeoutError:
        return False
    return True


def test_graph_with_other_ports_is_refused_and_freed(file: Path, cuda: FakeCuda) -> None:
    with pytest.raises(BundleError, match=r"image\.onnx: the output must be"):
        Tower(file, PIXELS, TEXT_EMBEDDING, n_threads=1, device="cuda", shapes=Shapes((1,)), captures=True)
    assert cuda.n_freed == 1


def test_graph_without_any_cuda_operator_is_refused_and_freed(file: Path, cuda: FakeCuda) -> None:
    cuda.cpu_operators = tuple({node.op_type for node in onnx.load(file).graph.node})
    with pytest.raises(ConfigError, match="runs none of its operators"):
        tower(file)
    assert cuda.n_freed == 2


def text_tower(file: Path) -> Tower:
    shapes = Shapes((1, 2))
    return Tower(file, INPUT_IDS, TEXT_EMBEDDING, n_threads=1, device="cuda", shapes=shapes, captures=True)


IDS = np.array([[1, 2, 3]], np.int32)


def test_text_tower_pooled_at_its_largest_id_is_captured(cuda: FakeCuda) -> None:
    found = text_tower(clip_text_graph()[0])
    found.capture([IDS])
    assert (found.why_not_captured, len(cuda.captured)) == ("", 1)


def test_text_tower_is_not_captured_without_a_rewrite_of_its_graph(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "diptych.adapters.onnxruntime.gpu_graph_rewrites", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    found = text_tower(clip_text_graph()[0])
    assert "not been partitioned to the CUDAExecutionProvider" in found.why_not_captured
    assert len(found.run(IDS, None)) == 1


def test_rewritten_graph_finds_its_external_weights(tmp_path: Path, cuda: FakeCuda) -> None:
    file = tmp_path / "text.onnx"
    onnx.save(
        onnx.load(clip_text_graph()[0]),
        file,
        save_as_external_data=True,
        location="weights",
    )
    expected = text_tower(clip_text_graph()[0]).run(IDS, None)
    np.testing.assert_array_equal(text_tower(file).run(IDS, None), expected)
    assert (tmp_path / "weights").stat().st_size > 10 * file.stat().st_size

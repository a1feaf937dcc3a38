"""Batches on a simulated GPU give the same rows as without buffers, whatever ran before."""

import threading
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from diptych.adapters.onnxruntime.gpu_run import Batch, GpuRun, Shapes
from support.fake_onnxruntime import CPU, CUDA, FakeCuda
from support.tiny_graphs import image_graph, image_reference, make_weights, text_graph, text_reference

D = 16
WORDS = ["pad", "red", "green", "blue", "yellow", "black", "white"]
WEIGHTS = make_weights({word: n for n, word in enumerate(WORDS)}, 0, image_size=8, embed_dim=D, seed=0)
RANDOM = np.random.default_rng(0)
SIZES = (1, 2, 4, 8)


def pixels(n_items: int) -> NDArray[np.uint8]:
    return RANDOM.integers(0, 256, (n_items, 8, 8, 3), dtype=np.uint8)


def ids(n_items: int, n_tokens: int) -> NDArray[np.int32]:
    return RANDOM.integers(1, 7, (n_items, n_tokens), dtype=np.int32)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graphs")
    onnx.save(image_graph(WEIGHTS), folder / "image.onnx")
    onnx.save(text_graph(WEIGHTS), folder / "text.onnx")
    return folder


def bound(graphs: Path, kind: str = "image", shapes: Shapes | None = None) -> GpuRun:
    session = ort.InferenceSession(
        str(graphs / f"{kind}.onnx"), providers=[(CUDA, {"enable_cuda_graph": 1}), CPU], enable_fallback=0
    )
    (source,), (target,) = session.get_inputs(), session.get_outputs()
    return GpuRun(session, source.name, target.name, width=D, shapes=shapes or Shapes(SIZES))


def assert_right(run: GpuRun, batch: Batch) -> None:
    expected = image_reference(WEIGHTS, batch) if batch.ndim == 4 else text_reference(WEIGHTS, batch)
    np.testing.assert_allclose(run(batch, ort.RunOptions()), expected, atol=1e-5)


@pytest.mark.parametrize("n_items", range(1, 12))
def test_batches_of_every_size_give_the_right_rows(n_items: int, graphs: Path, cuda: FakeCuda) -> None:
    run = bound(graphs)
    run(pixels(8), ort.RunOptions())  # which leaves other items in the buffers
    assert_right(run, pixels(n_items))


def test_rows_do_not_change_when_the_next_batch_runs(graphs: Path, cuda: FakeCuda) -> None:
    run = bound(graphs)
    for _ in range(2):  # before and after it is captured
        first = run(pixels(2), ort.RunOptions())
        kept = first.copy()
        run(pixels(2), ort.RunOptions())
        assert np.array_equal(first, kept)
        assert run.capture([pixels(2)]) == ""


def test_buffers_are_allocated_once_for_each_size_until_the_sizes_change(
    graphs: Path, cuda: FakeCuda
) -> None:
    run = bound(graphs)
    for n_items in (1, 3, 4, 8, 2, 8, 4, 3, 9):
        run(pixels(n_items), ort.RunOptions())
    assert [shape[0] for shape in cuda.inputs] == [1, 4, 8, 2]
    run.fit((1, 2, 3, 6))
    for n_items in (1, 2, 5):
        assert_right(run, pixels(n_items))
    assert [shape[0] for shape in cuda.inputs] == [1, 4, 8, 2, 6]


def test_texts_are_padded_to_one_of_a_few_lengths_or_keep_their_length(graphs: Path, cuda: FakeCuda) -> None:
    run = bound(graphs, "text", Shapes((1, 2, 4), lengths=(4, 8), fill=0))
    for n_items, n_tokens in ((3, 3), (3, 4), (1, 5), (2, 8), (2, 6), (4, 2), (2, 9)):
        assert_right(run, ids(n_items, n_tokens))
    assert cuda.inputs == [(4, 4), (1, 8), (2, 8), (2, 9)]


def test_callers_in_many_threads_get_their_own_rows(graphs: Path, cuda: FakeCuda) -> None:
    run, wrong = bound(graphs), []
    assert run.capture([pixels(size) for size in SIZES]) == ""
    batches = [pixels(1 + n % 8) for n in range(40)]
    expected = [image_reference(WEIGHTS, batch) for batch in batches]

    def ask(start: int) -> None:
        for n in range(start, len(batches), 4):
            if not np.allclose(run(batches[n], ort.RunOptions()), expected[n], atol=1e-5):
                wrong.append(n)

    threads = [threading.Thread(target=ask, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_run_after_a_failed_one_succeeds(graphs: Path, cuda: FakeCuda) -> None:
    run = bound(graphs)
    stopped = ort.RunOptions()
    stopped.terminate = True
    with pytest.raises(Exception, match="terminate"):
        run(pixels(3), stopped)
    with pytest.raises(Exception, match="dimension"):
        run(np.zeros((2, 9, 9, 3), np.uint8), ort.RunOptions())
    assert_right(run, pixels(3))


def test_batches_are_copied_from_page_locked_memory_which_is_freed(graphs: Path, cuda: FakeCuda) -> None:
    run = bound(graphs)
    for n_items in (3, 1, 3):
        assert_right(run, pixels(n_items))
    assert cuda.from_page_locked == [True] * 3
    assert len(cuda.gpu.on_host) == 2
    run.fit((4,))
    assert len(cuda.gpu.on_host) == 1
    run.close()
    assert (len(cuda.gpu.on_host), cuda.n_freed) == (0, 1)


def test_batches_run_without_page_locked_memory_if_there_is_none(
    graphs: Path, cuda: FakeCuda, caplog: pytest.LogCaptureFixture
) -> None:
    cuda.gpu.fails["cudaHostAlloc"] = "cudaErrorMemoryAllocation"
    assert_right(bound(graphs), pixels(3))
    assert cuda.from_page_locked == [False]
    assert "from pageable memory: cudaHostAlloc returned cudaErrorMemoryAllocation" in caplog.text


def test_shapes_are_captured_once_and_replayed_from_then_on(graphs: Path, cuda: FakeCuda) -> None:
    run = bound(graphs)
    run(pixels(2), ort.RunOptions())
    assert cuda.captured == []
    assert run.capture([pixels(size) for size in (1, 2, 4)]) == ""
    n_proven = cuda.n_replays
    for n_items in (1, 3, 4, 8, 2, 9, 1):
        assert_right(run, pixels(n_items))
    assert [shape[0] for _, shape in cuda.captured] == [1, 2, 4]
    assert cuda.n_replays - n_proven == 5  # 8 was not asked for, 9 is too large for any
    assert len({thread for thread, _ in cuda.captured}) == 1


@pytest.mark.parametrize("fault", ["wrong_shapes", "stale_shapes"])
def test_shape_with_a_wrong_replay_runs_uncaptured_and_the_others_are_captured(
    fault: str, graphs: Path, cuda: FakeCuda
) -> None:
    getattr(cuda, fault).add((2, 8, 8, 3))
    run = bound(graphs)
    told = run.capture([pixels(size) for size in (1, 2, 4)])
    assert told.startswith("a replay of shape (2, 8, 8, 3) differs: item ")
    assert cuda.released == [2]
    n_proven = cuda.n_replays
    for n_items in (1, 2, 4):
        assert_right(run, pixels(n_items))
    assert cuda.n_replays - n_proven == 2


def test_graph_of_a_dropped_or_recaptured_shape_is_released(graphs: Path, cuda: FakeCuda) -> None:
    """It would write where its buffers were."""
    run = bound(graphs)
    run.capture([pixels(size) for size in (1, 2, 4)])
    run.fit((1, 2))
    assert cuda.released == [3]
    assert run.capture([pixels(size) for size in (1, 2)]) == ""
    assert cuda.released == [3, 1, 2]
    assert_right(run, pixels(2))


def test_run_that_cannot_be_captured_raises_what_the_runtime_says(graphs: Path, cuda: FakeCuda) -> None:
    cuda.capture_fails = "CUDA failure 900: operation not permitted"
    with pytest.raises(RuntimeError, match="CUDA failure 900: operation not permitted"):
        bound(graphs).capture([pixels(3)])

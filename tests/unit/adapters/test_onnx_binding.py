"""Bound buffers, by real sessions on the CPU: the same rows as without, whatever came before."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from diptych.adapters import onnx_binding
from diptych.adapters.gpu_gate import GATE
from diptych.adapters.onnx_binding import BoundRun, CaptureFailed, Shapes, unbound
from support.fake_cuda import FakeCuda
from support.tiny_graphs import image_graph, make_weights, text_graph

D = 16
WORDS = ["pad", "red", "green", "blue", "yellow", "black", "white"]
WEIGHTS = make_weights({word: n for n, word in enumerate(WORDS)}, 0, image_size=8, embed_dim=D, seed=0)
RANDOM = np.random.default_rng(0)


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


@pytest.fixture
def session(graphs: Path) -> ort.InferenceSession:
    return ort.InferenceSession(str(graphs / "image.onnx"), providers=["CPUExecutionProvider"])


def bound(session: ort.InferenceSession, sizes: tuple[int, ...] = (1, 2, 4, 8), **options: Any) -> BoundRun:
    names = session.get_inputs()[0].name, session.get_outputs()[0].name
    given = {"width": D, "shapes": Shapes(sizes), "memory": "cpu"} | options
    return BoundRun(session, *names, **given)


def plain(session: ort.InferenceSession) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    run = unbound(session, session.get_inputs()[0].name, session.get_outputs()[0].name)
    return lambda batch: run(batch, ort.RunOptions())


@pytest.mark.parametrize("n_items", range(1, 12))
def test_batches_of_every_size_have_the_rows_of_an_unbound_run(
    n_items: int, session: ort.InferenceSession
) -> None:
    run, batch = bound(session), pixels(n_items)
    run(pixels(8), ort.RunOptions())  # which leaves other items in the buffers
    rows = run(batch, ort.RunOptions())
    assert rows.shape == (n_items, D)
    np.testing.assert_allclose(rows, plain(session)(batch), atol=1e-6)


def test_texts_of_several_lengths_have_buffers_of_their_own(graphs: Path) -> None:
    session = ort.InferenceSession(str(graphs / "text.onnx"), providers=["CPUExecutionProvider"])
    run = bound(session)
    for n_items, n_tokens in ((3, 5), (3, 7), (1, 7), (2, 5), (4, 5)):
        batch = ids(n_items, n_tokens)
        np.testing.assert_allclose(run(batch, ort.RunOptions()), plain(session)(batch), atol=1e-6)
    assert {*run._bound} == {(4, 5), (4, 7), (1, 7), (2, 5)}


def test_rows_stay_what_they_are_when_the_next_batch_runs(session: ort.InferenceSession) -> None:
    run = bound(session)
    first = run(pixels(2), ort.RunOptions())
    kept = first.copy()
    second = run(pixels(2), ort.RunOptions())
    assert np.array_equal(first, kept)
    assert not np.array_equal(first, second)


def test_buffers_are_laid_out_once_for_each_size(
    session: ort.InferenceSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = FakeCuda().install(monkeypatch)
    run = bound(session, memory="cuda")
    for n_items in (1, 3, 4, 8, 2, 8, 4, 3, 9):
        run(pixels(n_items), ort.RunOptions())
    assert cuda.shapes == [(1, 8, 8, 3), (4, 8, 8, 3), (8, 8, 8, 3), (2, 8, 8, 3)]


def test_fitting_lets_go_of_sizes_that_are_not_used_any_more(session: ort.InferenceSession) -> None:
    run, batch = bound(session), pixels(5)
    for n_items in (1, 2, 4, 8):
        run(pixels(n_items), ort.RunOptions())
    run.fit((1, 2, 3, 6))
    assert {shape[0] for shape in run._bound} == {1, 2}
    np.testing.assert_allclose(run(batch, ort.RunOptions()), plain(session)(batch), atol=1e-6)
    assert {shape[0] for shape in run._bound} == {1, 2, 6}


def test_only_so_many_shapes_are_kept_those_used_last(graphs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_binding, "MAX_SHAPES", 3)
    run = bound(ort.InferenceSession(str(graphs / "text.onnx"), providers=["CPUExecutionProvider"]))
    for n_tokens in (1, 2, 3, 1, 4):
        run(ids(1, n_tokens), ort.RunOptions())
    assert list(run._bound) == [(1, 3), (1, 1), (1, 4)]


def test_callers_in_many_threads_get_their_own_rows(session: ort.InferenceSession) -> None:
    run, wrong = bound(session), []
    batches = [pixels(1 + n % 8) for n in range(40)]
    expected = [plain(session)(batch) for batch in batches]

    def ask(start: int) -> None:
        for n in range(start, len(batches), 4):
            if not np.allclose(run(batches[n], ort.RunOptions()), expected[n], atol=1e-6):
                wrong.append(n)

    threads = [threading.Thread(target=ask, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_run_that_fails_leaves_the_next_one_well(session: ort.InferenceSession) -> None:
    run, batch = bound(session), pixels(3)
    stopped = ort.RunOptions()
    stopped.terminate = True
    with pytest.raises(Exception, match="terminate"):
        run(batch, stopped)
    with pytest.raises(Exception, match="dimension"):
        run(np.zeros((2, 9, 9, 3), np.uint8), ort.RunOptions())
    np.testing.assert_allclose(run(batch, ort.RunOptions()), plain(session)(batch), atol=1e-6)


@pytest.mark.parametrize("kind", ["image", "text"])
def test_batches_are_copied_from_page_locked_memory_that_is_given_back_at_the_gate(
    kind: str, graphs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = ort.InferenceSession(str(graphs / f"{kind}.onnx"), providers=["CPUExecutionProvider"])
    cuda = FakeCuda().install(monkeypatch)
    run = bound(session, memory="cuda")
    for n_items in (3, 1, 3):
        batch = pixels(n_items) if kind == "image" else ids(n_items, 5)
        np.testing.assert_allclose(run(batch, ort.RunOptions()), plain(session)(batch), atol=1e-6)
    assert cuda.from_page_locked == [True] * 3
    assert (len(cuda.gpu.on_host), run.why_not_page_locked) == (2, "")
    run.fit((4,))
    assert len(cuda.gpu.on_host) == 1
    with GATE.beside_others():
        run.close()
    assert (len(cuda.gpu.on_host), cuda.gpu.freed) == (0, [True, True])


def test_page_locked_memory_that_cannot_be_had_is_done_without(
    session: ort.InferenceSession, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cuda = FakeCuda().install(monkeypatch)
    cuda.gpu.fails["cuMemHostAlloc"] = 2
    run, batch = bound(session, memory="cuda"), pixels(3)
    rows = run(batch, ort.RunOptions())
    run(pixels(1), ort.RunOptions())
    np.testing.assert_allclose(rows, plain(session)(batch), atol=1e-6)
    assert cuda.from_page_locked == [False, False]
    assert run.why_not_page_locked == (
        "no page-locked memory for batches of shape (4, 8, 8, 3): "
        "the NVIDIA driver does not work: cuMemHostAlloc answers 2"
    )
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert warning.getMessage().endswith(f"from pageable memory: {run.why_not_page_locked}")


def test_texts_are_filled_up_to_one_of_a_few_lengths(graphs: Path) -> None:
    session = ort.InferenceSession(str(graphs / "text.onnx"), providers=["CPUExecutionProvider"])
    run = bound(session, shapes=Shapes((1, 2, 4), lengths=(4, 8), fill=0))
    for n_items, n_tokens in ((3, 3), (3, 4), (1, 5), (2, 8), (2, 6), (4, 2)):
        batch = ids(n_items, n_tokens)
        np.testing.assert_allclose(run(batch, ort.RunOptions()), plain(session)(batch), atol=1e-6)
    assert {*run._bound} == {(4, 4), (1, 8), (2, 8)}


def test_text_longer_than_all_lengths_runs_as_long_as_it_is(graphs: Path) -> None:
    session = ort.InferenceSession(str(graphs / "text.onnx"), providers=["CPUExecutionProvider"])
    run, batch = bound(session, shapes=Shapes((2,), lengths=(4,))), ids(2, 6)
    np.testing.assert_allclose(run(batch, ort.RunOptions()), plain(session)(batch), atol=1e-6)
    assert [*run._bound] == [(2, 6)]


def capturing(graphs: Path, cuda: FakeCuda, **options: Any) -> BoundRun:
    session = ort.InferenceSession(
        str(graphs / "image.onnx"),
        providers=[("CUDAExecutionProvider", {"enable_cuda_graph": 1}), "CPUExecutionProvider"],
        enable_fallback=0,
    )
    return bound(session, memory="cuda", captures=True, **options)


def test_each_shape_is_captured_once_and_replayed_in_its_own_buffers(
    graphs: Path, session: ort.InferenceSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = FakeCuda().install(monkeypatch)
    run = capturing(graphs, cuda)
    for n_items in (1, 3, 4, 8, 2, 8, 4, 3, 9, 1):
        batch = pixels(n_items)
        np.testing.assert_allclose(run(batch, ort.RunOptions()), plain(session)(batch), atol=1e-6)
    assert [number for _, number in cuda.captured] == ["1", "2", "3", "4"]  # 9 runs as it is
    assert cuda.n_replays == 5


def test_rows_of_a_captured_run_stay_what_they_are(graphs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = capturing(graphs, FakeCuda().install(monkeypatch))
    first = run(pixels(2), ort.RunOptions())
    kept = first.copy()
    run(pixels(2), ort.RunOptions())
    assert np.array_equal(first, kept)


def test_graph_of_a_shape_that_is_let_go_is_never_replayed(
    graphs: Path, session: ort.InferenceSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would write where its buffers were."""
    cuda = FakeCuda().install(monkeypatch)
    run = capturing(graphs, cuda)
    for n_items in (1, 2, 4):
        run(pixels(n_items), ort.RunOptions())
    run.fit((1, 6))
    assert cuda.released == [2, 3]
    run.fit((1, 2, 4))
    batch = pixels(2)
    np.testing.assert_allclose(run(batch, ort.RunOptions()), plain(session)(batch), atol=1e-6)
    assert [number for _, number in cuda.captured] == ["1", "2", "3", "4"]


def test_run_that_cannot_be_captured_says_for_which_shape_and_why(
    graphs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = FakeCuda(capture_fails="CUDA failure 900: operation not permitted").install(monkeypatch)
    run = capturing(graphs, cuda)
    with pytest.raises(
        CaptureFailed, match=r"shape \(4, 8, 8, 3\) cannot be captured: CUDA failure 900: operation not"
    ):
        run(pixels(3), ort.RunOptions())
    assert list(run._bound) == [(4, 8, 8, 3)], "buffers of a run that may be capturing still are not freed"

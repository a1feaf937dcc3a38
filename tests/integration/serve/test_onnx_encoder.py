import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from diptych.adapters.onnxruntime.encoder import OnnxEncoder
from diptych.core.concurrency.deadline_executor import DeadlineExecutor
from diptych.core.encoding.embedder import image_batch_encoder
from diptych.errors import BundleError, EncoderFailed
from support.fake_onnxruntime import FakeCuda
from support.faulty_graphs import GREYS, Failure, faulty
from support.tiny_graphs import image_graph, image_reference, make_weights, text_graph, text_reference

WEIGHTS = make_weights(
    {word: n for n, word in enumerate(["pad", "red", "green", "blue", "yellow", "black", "white"])},
    0,
    image_size=8,
    embed_dim=16,
    seed=0,
)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    image, text = tmp_path / "image_encoder.onnx", tmp_path / "text_encoder.onnx"
    onnx.save(image_graph(WEIGHTS), image)
    onnx.save(text_graph(WEIGHTS), text)
    return image, text


def test_both_towers_give_the_reference_for_any_batch(files: tuple[Path, Path]) -> None:
    encoder = OnnxEncoder(*files, n_threads=1)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    input_ids = np.array([[1, 2, 0], [3, 0, 0]], np.int32)
    assert encoder.encode_image(pixels) == pytest.approx(image_reference(WEIGHTS, pixels), abs=1e-5)
    assert encoder.encode_image(pixels[:1]) == pytest.approx(image_reference(WEIGHTS, pixels[:1]), abs=1e-5)
    assert encoder.encode_text(input_ids) == pytest.approx(text_reference(WEIGHTS, input_ids), abs=1e-5)
    assert encoder.provider == "CPUExecutionProvider"


def test_what_the_runtime_raises_is_encoder_failed_without_its_text(files: tuple[Path, Path]) -> None:
    encoder = OnnxEncoder(*files, n_threads=1)
    with pytest.raises(EncoderFailed, match=r"^the encoder raised \w+ on a batch of 2$"):
        encoder.encode_image(np.zeros((2, 9, 9, 3), np.uint8))


def test_graph_with_another_signature_is_refused(files: tuple[Path, Path]) -> None:
    image, text = files
    with pytest.raises(
        BundleError, match=r"text_encoder.onnx: the input must be .*pixels.*, found .*input_ids"
    ):
        OnnxEncoder(text, image)


def test_file_that_is_no_graph_is_refused(tmp_path: Path, files: tuple[Path, Path]) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not onnx")
    with pytest.raises(BundleError, match=r"broken.onnx does not load"):
        OnnxEncoder(broken, files[1])


@pytest.fixture(params=["cpu", "cuda"])
def faulty_encoder(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    files: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> OnnxEncoder:
    graph = tmp_path / "faulty.onnx"
    onnx.save(faulty(image_graph(WEIGHTS)), graph)
    if request.param == "cuda":
        FakeCuda().install(monkeypatch)
    return OnnxEncoder(graph, files[1], n_threads=1, device=request.param)


def flat(failure: Failure) -> Any:
    """One image (8, 8, 3) that brings the failure about."""
    return np.full((8, 8, 3), GREYS[failure], np.uint8)


@pytest.mark.parametrize("failure", ["raise", "nan", "long"])
def test_failure_of_one_row_is_a_failure_of_the_call(faulty_encoder: OnnxEncoder, failure: Failure) -> None:
    with pytest.raises(EncoderFailed):
        faulty_encoder.encode_image(np.stack([np.zeros((8, 8, 3), np.uint8), flat(failure)]))


def test_run_without_end_is_stopped_and_the_next_one_is_well(faulty_encoder: OnnxEncoder) -> None:
    """Through all that the server puts around it."""

    async def run() -> None:
        encode, calls = image_batch_encoder(faulty_encoder), DeadlineExecutor("test", 1, timeout_s=0.2)
        with pytest.raises(EncoderFailed, match=r"did not answer within 0\.2 s"):
            await calls.start(lambda on_start: encode([flat("hang")], on_start))
        rows = await calls.start(lambda on_start: encode([np.zeros((8, 8, 3), np.uint8)], on_start))
        assert rows.shape == (1, 16)

    asyncio.run(run())


def test_stop_ends_its_own_run_and_no_other_of_the_session(faulty_encoder: OnnxEncoder) -> None:
    stops: dict[str, Any] = {}
    failed: list[str] = []

    def run(name: str) -> None:
        try:
            faulty_encoder.encode_image(flat("hang")[np.newaxis], lambda stop: stops.setdefault(name, stop))
        except EncoderFailed:
            failed.append(name)

    threads = {name: threading.Thread(target=run, args=(name,)) for name in "ab"}
    for thread in threads.values():
        thread.start()
    while len(stops) < 2:
        time.sleep(0.01)
    stops["a"]()
    threads["a"].join(10)
    assert failed == ["a"]
    stops["b"]()
    threads["b"].join(10)
    assert failed == ["a", "b"]
    stops["a"]()  # too late is fine

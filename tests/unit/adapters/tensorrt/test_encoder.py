"""Plans run on a simulated TensorRT and give the rows of the graphs they were built from."""

import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest

from diptych.adapters.tensorrt import library
from diptych.adapters.tensorrt.encoder import TensorrtEncoder
from diptych.adapters.tensorrt.plan import build_plan
from diptych.bundle.encoder import Stop
from diptych.bundle.manifest import TextSpec
from diptych.errors import BundleError, ConfigError, EncoderFailed
from diptych_training.export.tensorrt.request import image_profiles, text_profiles
from support.fake_cuda_bindings import FakeGpu
from support.fake_tensorrt import FakeTensorrt
from support.tiny_graphs import (
    COLOURS,
    TinyWeights,
    image_graph,
    image_reference,
    make_weights,
    text_graph,
    text_reference,
)

N_WORDS, SIZE, WIDTH = 9, 32, 16
SPEC = TextSpec(context_length=24, clean="none", pad_to="longest", pad_id=0, prompts={"default": ["{}"]})


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> FakeTensorrt:
    return FakeTensorrt(FakeGpu()).install(monkeypatch)


@pytest.fixture(scope="module")
def weights() -> TinyWeights:
    words = {word: number for number, word in enumerate(["pad", *COLOURS, "a", "b"])}
    return make_weights(words, 0, image_size=SIZE, embed_dim=WIDTH, seed=0)


def plans(folder: Path, weights: TinyWeights) -> tuple[Path, Path]:
    files = (folder / "image.plan", folder / "text.plan")
    graphs = (image_graph(weights), text_graph(weights))
    for file, graph, profiles in zip(files, graphs, (image_profiles(), text_profiles(SPEC)), strict=True):
        onnx.save(graph, folder / "graph.onnx")
        build_plan(folder / "graph.onnx", file, profiles)
    return files


def pixels(n: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, SIZE, SIZE, 3), dtype=np.uint8)


def input_ids(n: int, length: int) -> np.ndarray:
    ids = np.random.default_rng(n).integers(0, N_WORDS, (n, length)).astype(np.int32)
    ids[:, 0] = 1
    return ids


def same(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("n", [1, 3, 5, 256])
def test_batches_of_all_sizes_give_the_rows_of_the_graphs(
    n: int, tensorrt: FakeTensorrt, weights: TinyWeights, tmp_path: Path
) -> None:
    encoder = TensorrtEncoder(*plans(tmp_path, weights))
    assert (encoder.provider, encoder.device_name) == ("TensorRT", "NVIDIA H100")
    np.testing.assert_allclose(
        encoder.encode_image(pixels(n)), image_reference(weights, pixels(n)), atol=1e-5
    )
    ids = input_ids(n, 7)
    same(encoder.encode_text(ids), text_reference(weights, ids))
    profile = 0 if n <= 4 else 1
    assert tensorrt.ran == [(profile, (n, SIZE, SIZE, 3)), (profile, (n, 7))]


def test_batch_that_is_larger_than_every_profile_runs_in_parts(
    tensorrt: FakeTensorrt, weights: TinyWeights, tmp_path: Path
) -> None:
    encoder = TensorrtEncoder(*plans(tmp_path, weights))
    ids = input_ids(515, 3)
    same(encoder.encode_text(ids), text_reference(weights, ids))
    assert tensorrt.ran == [(1, (256, 3)), (1, (256, 3)), (0, (3, 3))]


def test_rows_of_one_batch_are_not_overwritten_by_the_next(
    tensorrt: FakeTensorrt, weights: TinyWeights, tmp_path: Path
) -> None:
    encoder = TensorrtEncoder(*plans(tmp_path, weights))
    first = encoder.encode_image(pixels(2))
    kept = first.copy()
    encoder.encode_image(pixels(3))
    np.testing.assert_array_equal(first, kept)


def test_many_threads_get_their_own_rows(
    tensorrt: FakeTensorrt, weights: TinyWeights, tmp_path: Path
) -> None:
    encoder = TensorrtEncoder(*plans(tmp_path, weights))
    found: dict[int, np.ndarray] = {}
    threads = [
        threading.Thread(target=lambda n=n: found.update({n: encoder.encode_image(pixels(n))}))
        for n in range(1, 9)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n in range(1, 9):
        same(found[n], image_reference(weights, pixels(n)))


def test_stopped_call_ends_before_its_next_part(
    tensorrt: FakeTensorrt, weights: TinyWeights, tmp_path: Path
) -> None:
    encoder = TensorrtEncoder(*plans(tmp_path, weights))

    def on_start(stop: Stop) -> None:
        stop()

    with pytest.raises(EncoderFailed, match="the call was stopped"):
        encoder.encode_text(input_ids(300, 3), on_start)
    assert tensorrt.ran == []


def test_shape_that_fits_no_profile_is_named(
    tensorrt: FakeTensorrt, weights: TinyWeights, tmp_path: Path
) -> None:
    encoder = TensorrtEncoder(*plans(tmp_path, weights))
    with pytest.raises(EncoderFailed, match=r"no profile fits a batch of shape \(2, 25\), only \(1, 2\) to"):
        encoder.encode_text(input_ids(2, 25))


@pytest.mark.parametrize("call", ["cudaMemcpyAsync", "cudaStreamSynchronize"])
def test_batch_that_fails_on_the_gpu_raises_encoder_failed(
    call: str, tensorrt: FakeTensorrt, weights: TinyWeights, tmp_path: Path
) -> None:
    encoder = TensorrtEncoder(*plans(tmp_path, weights))
    tensorrt.gpu.fails[call] = "cudaErrorInvalidValue"
    with pytest.raises(EncoderFailed, match=f"{call} returned cudaErrorInvalidValue"):
        encoder.encode_image(pixels(1))
    del tensorrt.gpu.fails[call]
    np.testing.assert_allclose(
        encoder.encode_image(pixels(1)), image_reference(weights, pixels(1)), atol=1e-5
    )


def test_memory_of_an_encoder_is_freed_with_it(
    tensorrt: FakeTensorrt, weights: TinyWeights, tmp_path: Path
) -> None:
    encoder = TensorrtEncoder(*plans(tmp_path, weights))
    assert len(tensorrt.gpu.on_gpu) == 4  # in and out of two towers
    del encoder
    assert (tensorrt.gpu.on_gpu, tensorrt.gpu.on_host, tensorrt.gpu.streams) == ({}, {}, {})


def test_memory_of_a_closed_encoder_is_freed(
    tensorrt: FakeTensorrt, weights: TinyWeights, tmp_path: Path
) -> None:
    encoder = TensorrtEncoder(*plans(tmp_path, weights))
    encoder.close()
    assert (tensorrt.gpu.on_gpu, tensorrt.gpu.on_host, tensorrt.gpu.streams) == ({}, {}, {})
    with pytest.raises(EncoderFailed, match="the encoder was closed"):
        encoder.encode_image(pixels(1))


def test_memory_of_a_refused_encoder_is_freed(
    tensorrt: FakeTensorrt, weights: TinyWeights, tmp_path: Path
) -> None:
    image, text = plans(tmp_path, weights)
    text.write_bytes(b"no plan")
    with pytest.raises(BundleError):
        TensorrtEncoder(image, text)
    assert tensorrt.gpu.on_gpu == {}


def test_plan_of_another_release_or_gpu_does_not_load_and_says_why(
    tensorrt: FakeTensorrt, weights: TinyWeights, tmp_path: Path
) -> None:
    files = plans(tmp_path, weights)
    tensorrt.version = "10.13.3.9"
    with pytest.raises(BundleError, match=r"image\.plan does not load in TensorRT .*here is .*10\.13\.3\.9"):
        TensorrtEncoder(*files)


def test_file_that_is_not_a_plan_is_refused(
    tensorrt: FakeTensorrt, weights: TinyWeights, tmp_path: Path
) -> None:
    image, _ = plans(tmp_path, weights)
    with pytest.raises(BundleError, match=r"image\.plan: the input must be .*input_ids.*found .*pixels"):
        TensorrtEncoder(image, image)
    image.write_bytes(b"no plan")
    with pytest.raises(BundleError, match="Magic tag does not match"):
        TensorrtEncoder(image, image)


def test_missing_or_old_tensorrt_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in library.MODULES:
        monkeypatch.setitem(sys.modules, name, None)  # as when it is not installed
    with pytest.raises(ConfigError, match=r"TensorRT is not installed: install server\[tensorrt\]"):
        library.load_tensorrt.__wrapped__()
    FakeTensorrt(FakeGpu(), "10.9.0.34").install(monkeypatch)
    with pytest.raises(ConfigError, match=r"TensorRT 10\.9\.0\.34 is installed, the oldest .* is 10\.12"):
        library.tensorrt_version()

"""The first GPU, its memory and its streams, by a stand-in for NVIDIA's package."""

import sys

import numpy as np
import pytest

from diptych.adapters.cuda.device import Gpu, GpuBuffer, Stream, first_gpu, free_bytes, page_locked
from diptych.errors import ConfigError, EncoderFailed
from support.fake_cuda_bindings import FakeGpu


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    return FakeGpu("NVIDIA H100 80GB HBM3").install(monkeypatch)


def test_first_gpu_is_named_with_what_its_driver_runs(gpu: FakeGpu) -> None:
    gpu.cuda = 12040
    assert first_gpu() == Gpu("NVIDIA H100 80GB HBM3", (12, 4), (9, 0))
    assert free_bytes() == gpu.free_bytes


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        ("cudaErrorNoDevice", "the NVIDIA driver finds no GPU"),
        ("cudaErrorInsufficientDriver", "the NVIDIA driver does not work: .* cudaErrorInsufficientDriver"),
        (
            "cudaErrorSystemDriverMismatch",
            "the NVIDIA driver does not work: cudaGetDeviceCount returned cudaE",
        ),
    ],
)
def test_unusable_driver_is_reported_with_what_hides_gpus(
    fails: str, said: str, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu.fails["cudaGetDeviceCount"] = fails
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with pytest.raises(ConfigError, match=rf"^{said}.* \(CUDA_VISIBLE_DEVICES is '3'\)$"):
        first_gpu()


def test_missing_driver_or_package_is_named(gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu.cuda = 0
    with pytest.raises(ConfigError, match=r"^no NVIDIA driver is installed$"):
        first_gpu()
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)  # as when it is not installed
    with pytest.raises(ConfigError, match=r"the package cuda-bindings cannot be loaded .*server\[gpu\]"):
        first_gpu()


def test_bytes_come_back_from_the_gpu_after_waiting_for_the_stream(gpu: FakeGpu) -> None:
    stream, there = Stream(), GpuBuffer(8)
    source, target = page_locked((8,), np.uint8), page_locked((2, 4), np.uint8)
    assert not source.any()
    source[...] = np.arange(8)
    stream.copy_in(there, source)
    stream.copy_out(target[:1], there)
    assert not target.any()
    stream.wait()
    assert target.tolist() == [[0, 1, 2, 3], [0, 0, 0, 0]]


def test_memory_and_streams_are_freed_with_their_owners(gpu: FakeGpu) -> None:
    kept = [Stream(), GpuBuffer(8), page_locked((2, 2), np.float32)[0]]  # a view keeps its array
    assert [len(gpu.streams), len(gpu.on_gpu), len(gpu.on_host)] == [1, 1, 1]
    del kept[:]
    assert [len(gpu.streams), len(gpu.on_gpu), len(gpu.on_host)] == [0, 0, 0]


def test_failed_call_is_named_with_its_status(gpu: FakeGpu) -> None:
    gpu.fails["cudaMalloc"] = "cudaErrorMemoryAllocation"
    with pytest.raises(EncoderFailed, match="cudaMalloc returned cudaErrorMemoryAllocation"):
        GpuBuffer(8)

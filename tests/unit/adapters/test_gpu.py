"""The first GPU and its memory, by a stand-in for NVIDIA's package."""

import sys

import pytest

from diptych.adapters.gpu import Gpu, first_gpu, free_bytes
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


def test_failed_call_is_named_with_its_status(gpu: FakeGpu) -> None:
    gpu.fails["cudaMemGetInfo"] = "cudaErrorMemoryAllocation"
    with pytest.raises(EncoderFailed, match="cudaMemGetInfo returned cudaErrorMemoryAllocation"):
        free_bytes()

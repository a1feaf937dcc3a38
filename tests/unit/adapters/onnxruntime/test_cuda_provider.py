"""Error messages for a missing CUDA runtime, driver or library."""

from pathlib import Path

import onnxruntime as ort
import pytest

from diptych.adapters.gpu import Gpu
from diptych.adapters.onnxruntime import cuda_provider
from diptych.adapters.onnxruntime.cuda_provider import CUDA_OPTIONS, require_cuda
from diptych.errors import ConfigError
from support.fake_onnxruntime import CARD, KNOWN_OPTIONS, FakeCuda


def test_usable_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda().install(monkeypatch)
    assert require_cuda() == Gpu(CARD, (13, 0), (9, 0))


def test_build_without_cuda_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda(is_offered=False).install(monkeypatch)
    with pytest.raises(
        ConfigError, match=r"^onnxruntime \S+ is built without CUDAExecutionProvider: install server\[gpu\]"
    ):
        require_cuda()


def test_overwritten_gpu_build_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda(is_offered=False).install(monkeypatch)
    monkeypatch.setattr(cuda_provider, "version", {"onnxruntime-gpu": "1.31.1"}.__getitem__)
    with pytest.raises(
        ConfigError, match="the package onnxruntime has overwritten onnxruntime-gpu, which is installed too"
    ):
        require_cuda()


@pytest.mark.parametrize(("driver", "build"), [(12090, "13.0"), (13000, "14.1")])
def test_driver_that_is_too_old_is_reported_with_both_versions(
    driver: int, build: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeCuda().install(monkeypatch).gpu.cuda = driver
    monkeypatch.setattr(ort, "cuda_version", build)
    found = f"{driver // 1000}.{driver % 1000 // 10}"
    with pytest.raises(
        ConfigError, match=f"driver of A card runs CUDA up to {found} only, .* built for CUDA {build}"
    ):
        require_cuda()


def test_newer_driver_and_other_minor_release_are_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda().install(monkeypatch)
    monkeypatch.setattr(ort, "cuda_version", "13.5")
    assert require_cuda().cuda == (13, 0)
    monkeypatch.setattr(ort, "cuda_version", "12.8")
    assert require_cuda().cuda == (13, 0)


def test_library_that_does_not_load_is_named_with_the_required_versions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    FakeCuda().install(monkeypatch)
    (tmp_path / "capi").mkdir()
    (tmp_path / "capi" / "libonnxruntime_providers_cuda.so").write_bytes(b"no library")
    monkeypatch.setattr(ort, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(ort, "cuda_version", "13.0")
    with pytest.raises(ConfigError) as caught:
        require_cuda()
    told = str(caught.value)
    assert "libonnxruntime_providers_cuda.so" in told
    assert "is built for CUDA 13.0 and cuDNN 9: install server[gpu]" in told
    assert capfd.readouterr().out == ""  # the log is all that a server writes


def test_options_are_known_to_the_provider_and_keep_float32_exact() -> None:
    assert CUDA_OPTIONS.keys() <= KNOWN_OPTIONS
    assert CUDA_OPTIONS["use_tf32"] == 0
    assert CUDA_OPTIONS["do_copy_in_default_stream"] == 1  # else results may race with their computation

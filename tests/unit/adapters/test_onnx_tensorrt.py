"""What is said where TensorRT is missing, or another one."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime as ort
import pytest

from diptych.adapters import onnx_tensorrt
from diptych.adapters.onnx_tensorrt import require_tensorrt
from diptych.errors import ConfigError
from support.fake_tensorrt import TENSORRT


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That of a provider which is linked to TensorRT 10, in a build for CUDA 13."""
    (tmp_path / "capi").mkdir()
    file = tmp_path / "capi" / "libonnxruntime_providers_tensorrt.so"
    file.write_bytes(b"no library\0libnvonnxparser.so.10\0libcudart.so.13\0libnvinfer.so.10\0")
    monkeypatch.setattr(ort, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(ort, "cuda_version", "13.0")
    monkeypatch.setattr(ort, "get_available_providers", lambda: [TENSORRT, "CPUExecutionProvider"])
    return file


def test_build_without_tensorrt_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ConfigError, match=r"^onnxruntime \S+ is built without TensorrtExecutionProvider$"):
        require_tensorrt()


def test_build_without_its_library_is_named(library: Path) -> None:
    library.unlink()
    with pytest.raises(ConfigError, match="lacks the library of its TensorrtExecutionProvider"):
        require_tensorrt()


def test_library_that_does_not_load_is_told_with_those_that_are_wanted(library: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        require_tensorrt()
    told = str(caught.value)
    assert told.startswith(f"TensorrtExecutionProvider cannot be loaded: {library}")
    assert (
        "is built for CUDA 13.0 and libnvinfer.so.10 and libnvonnxparser.so.10: install server[tensorrt]"
        in told
    )


def test_package_of_another_release_is_told_by_its_library(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "tensorrt_libs"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "libnvinfer.so.11").write_bytes(b"no library")
    monkeypatch.syspath_prepend(str(package.parent))
    with pytest.raises(ConfigError, match=r"the package tensorrt_libs here has libnvinfer\.so\.11"):
        require_tensorrt()


@pytest.mark.parametrize(
    ("number", "version"), [(101601, "10.16.1"), (101303, "10.13.3"), (110400, "11.4.0")]
)
def test_version_is_that_of_the_library_that_the_provider_found(
    number: int, version: str, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str) -> Any:
        assert name == str(library)
        return SimpleNamespace(getInferLibVersion=lambda: number)

    monkeypatch.setattr(onnx_tensorrt.ctypes, "CDLL", load)
    assert require_tensorrt() == version

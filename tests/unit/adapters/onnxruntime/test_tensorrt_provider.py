"""The options of onnxruntime's TensorRT provider, and error messages for what is missing."""

import ctypes
from pathlib import Path
from types import SimpleNamespace

import onnxruntime as ort
import pytest

from diptych.adapters.onnxruntime.tensorrt_provider import (
    MAX_WORKSPACE_BYTES,
    image_shapes,
    release,
    require_tensorrt,
    tensorrt_options,
    text_shapes,
)
from diptych.errors import ConfigError
from support.fake_onnxruntime import CUDA, FakeCuda


def test_options_name_shapes_and_the_folder_of_engines() -> None:
    assert tensorrt_options("pixels", image_shapes(224, 256), Path("cache")) == {
        "device_id": 0,
        "trt_max_workspace_size": MAX_WORKSPACE_BYTES,
        "trt_profile_min_shapes": "pixels:1x224x224x3",
        "trt_profile_opt_shapes": "pixels:32x224x224x3",
        "trt_profile_max_shapes": "pixels:256x224x224x3",
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": "cache",
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": "cache",
    }


@pytest.mark.parametrize(
    ("lengths", "max_batch", "shapes"),
    [
        (range(2, 78), 256, [(1, 2), (32, 16), (256, 77)]),
        (range(77, 78), 256, [(1, 77), (32, 77), (256, 77)]),
        (range(2, 9), 8, [(1, 2), (8, 8), (8, 8)]),
    ],
)
def test_shapes_of_texts_are_those_that_requests_have(
    lengths: range, max_batch: int, shapes: list[tuple[int, int]]
) -> None:
    found = text_shapes(lengths, max_batch)
    assert [found.smallest, found.usual, found.largest] == shapes


def test_release_is_read_from_the_number_of_the_library() -> None:
    assert release(101602) == "10.16.2"


@pytest.fixture
def capi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of onnxruntime's libraries."""
    real = require_tensorrt
    FakeCuda().install(monkeypatch)
    monkeypatch.setattr("diptych.adapters.onnxruntime.tensorrt_provider.require_tensorrt", real)
    monkeypatch.setattr(ort, "__file__", str(tmp_path / "__init__.py"))
    (tmp_path / "capi").mkdir()
    return tmp_path / "capi"


def test_build_without_tensorrt_is_reported(capi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="lacks the library of TensorrtExecutionProvider"):
        require_tensorrt()
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA])
    with pytest.raises(ConfigError, match="is built without TensorrtExecutionProvider"):
        require_tensorrt()


def test_library_that_does_not_load_is_named_with_what_to_install(capi: Path) -> None:
    (capi / "libonnxruntime_providers_tensorrt.so").write_bytes(b"no library")
    with pytest.raises(
        ConfigError, match=r"provider tensorrt cannot be loaded: .*providers_tensorrt\.so.*"
    ) as told:
        require_tensorrt()
    assert "install server[tensorrt] in addition to server[gpu]" in str(told.value)


def test_release_is_that_of_the_loaded_library(capi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (capi / "libonnxruntime_providers_tensorrt.so").write_bytes(b"")
    loaded = SimpleNamespace(getInferLibVersion=lambda: 101305)
    monkeypatch.setattr(ctypes, "CDLL", lambda *args, **options: loaded)
    assert require_tensorrt() == "10.13.5"

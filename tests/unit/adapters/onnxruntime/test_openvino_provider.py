"""Why bf16 is not offered: the plugin is missing, does not load, or knows no bf16 on this processor."""

import sys
from types import SimpleNamespace

import onnxruntime as ort
import pytest

from diptych.adapters.onnxruntime.openvino_provider import PLUGIN, plugin_version, why_no_bf16
from support.fake_openvino import FakeOpenVino


def test_processor_whose_capabilities_have_bf16_is_offered_it(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeOpenVino().install(monkeypatch)
    assert (why_no_bf16(), plugin_version()) == (None, "1.8.1")


@pytest.mark.parametrize(
    ("capabilities", "reason"),
    [
        ("FP32 FP16 INT8", "the processor has only FP32 FP16 INT8, says OpenVINO"),
        ("FP32 NOBF16", "the processor has only FP32 NOBF16, says OpenVINO"),
        (None, "OpenVINO's plugin does not support this processor"),
    ],
)
def test_processor_without_bf16_is_not_offered_it(
    capabilities: str | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeOpenVino(capabilities).install(monkeypatch)
    assert why_no_bf16() == f"not offered here: {reason}"


def test_missing_package_is_named() -> None:
    assert why_no_bf16() == ("not offered here: the package onnxruntime-ep-openvino is not installed")


def test_plugin_that_does_not_load_is_a_reason_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def register(name: str, library: str) -> None:
        raise RuntimeError(f"{library} needs another release")

    monkeypatch.setitem(sys.modules, PLUGIN, SimpleNamespace(get_library_path=lambda: "libplugin.so"))
    monkeypatch.setattr(ort, "register_execution_provider_library", register)
    assert why_no_bf16() == ("not offered here: OpenVINO's plugin fails: libplugin.so needs another release")


def test_plugin_that_fails_to_list_its_devices_is_a_reason_and_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def devices() -> None:
        raise RuntimeError("no device has a driver")

    FakeOpenVino().install(monkeypatch)
    monkeypatch.setattr(ort, "get_ep_devices", devices)
    assert why_no_bf16() == "not offered here: OpenVINO's plugin fails: no device has a driver"


def test_older_onnxruntime_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeOpenVino().install(monkeypatch)
    monkeypatch.setattr(ort, "InferenceSession", object)
    monkeypatch.setattr(ort, "__version__", "1.23.2")
    assert why_no_bf16() == "not offered here: bf16 needs onnxruntime 1.24 or newer, this is 1.23.2"

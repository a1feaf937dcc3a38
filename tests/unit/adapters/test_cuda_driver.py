"""What the driver says, through C's calling convention, and what is made of it."""

import ctypes
from ctypes import CFUNCTYPE, POINTER, c_char, c_int, c_uint
from types import SimpleNamespace
from typing import Any

import pytest

from diptych.adapters.cuda_driver import LIBRARY, Gpu, first_gpu
from diptych.errors import ConfigError


def driver(*, status: dict[str, int] | None = None, version: int = 13000, name: bytes = b"A card") -> Any:
    """Functions of the driver, as C sees them; `status` is what calls answer that do not work."""
    answers = status or {}

    def init(flags: int) -> int:
        return answers.get("cuInit", 0)

    def get_version(into: Any) -> int:
        into[0] = version
        return answers.get("cuDriverGetVersion", 0)

    def get_device(into: Any, ordinal: int) -> int:
        into[0] = 7 + ordinal  # a handle, no number
        return answers.get("cuDeviceGet", 0)

    def get_name(into: Any, n_bytes: int, device: int) -> int:
        assert device == 7
        ctypes.memmove(into, name[: n_bytes - 1] + b"\0", min(len(name), n_bytes - 1) + 1)
        return answers.get("cuDeviceGetName", 0)

    def get_attribute(into: Any, attribute: int, device: int) -> int:
        assert device == 7
        into[0] = {75: 8, 76: 6}[attribute]  # compute capability
        return answers.get("cuDeviceGetAttribute", 0)

    return SimpleNamespace(
        cuDeviceGetAttribute=CFUNCTYPE(c_int, POINTER(c_int), c_int, c_int)(get_attribute),
        cuInit=CFUNCTYPE(c_int, c_uint)(init),
        cuDriverGetVersion=CFUNCTYPE(c_int, POINTER(c_int))(get_version),
        cuDeviceGet=CFUNCTYPE(c_int, POINTER(c_int), c_int)(get_device),
        cuDeviceGetName=CFUNCTYPE(c_int, POINTER(c_char), c_int, c_int)(get_name),
    )


def test_first_gpu_has_its_name_and_what_its_driver_can_run() -> None:
    asked: list[str] = []

    def load(library: str) -> Any:
        asked.append(library)
        return driver(version=12040, name="Größe 80GB".encode())

    assert first_gpu(load) == Gpu("Größe 80GB", (12, 4), (8, 6))
    assert asked == [LIBRARY]


def test_name_that_is_longer_than_its_room_is_cut() -> None:
    assert first_gpu(lambda _: driver(name=b"x" * 1000)).name == "x" * 255


def test_missing_driver_is_named() -> None:
    with pytest.raises(ConfigError, match=r"there is no NVIDIA driver here: .*libnone\.so"):
        first_gpu(lambda _: ctypes.CDLL("libnone.so"))


def test_hidden_gpus_are_said_to_be_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ConfigError, match=r"finds no GPU \(CUDA_VISIBLE_DEVICES is ''\)$"):
        first_gpu(lambda _: driver(status={"cuInit": 100}))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with pytest.raises(ConfigError, match=r"finds no GPU$"):
        first_gpu(lambda _: driver(status={"cuInit": 100}))


@pytest.mark.parametrize(
    "call", ["cuInit", "cuDriverGetVersion", "cuDeviceGet", "cuDeviceGetName", "cuDeviceGetAttribute"]
)
def test_call_that_fails_is_named_with_its_status(call: str) -> None:
    with pytest.raises(ConfigError, match=f"{call} answers 999"):
        first_gpu(lambda _: driver(status={call: 999}))

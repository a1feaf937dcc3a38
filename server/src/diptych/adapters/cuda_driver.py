"""Ask the NVIDIA driver which GPU there is. Knows nothing of what is run on it."""

import ctypes
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from diptych.errors import ConfigError

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"  # comes with the driver
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
MAX_NAME_BYTES = 256
CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76  # attributes of a device

Load = Callable[[str], Any]  # the name of a library -> its functions; raises OSError


@dataclass(frozen=True)
class Gpu:
    """The first GPU that this process may use, and the newest CUDA that its driver can run."""

    name: str
    cuda: tuple[int, int]  # such as (13, 0)
    compute_capability: tuple[int, int]  # such as (9, 0)


def first_gpu(load: Load = ctypes.CDLL) -> Gpu:
    """Raises ConfigError that says whether the driver is missing, does not start, or finds no GPU."""
    try:
        driver = load(LIBRARY)
    except OSError as error:
        raise ConfigError(f"there is no NVIDIA driver here: {error}") from error
    status = driver.cuInit(0)
    if status == NO_DEVICE:
        raise ConfigError(f"the NVIDIA driver finds no GPU{_hidden()}")
    _require(status, "cuInit")
    version, device, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(MAX_NAME_BYTES)
    _require(driver.cuDriverGetVersion(ctypes.byref(version)), "cuDriverGetVersion")
    _require(driver.cuDeviceGet(ctypes.byref(device), 0), "cuDeviceGet")
    _require(driver.cuDeviceGetName(name, MAX_NAME_BYTES, device), "cuDeviceGetName")
    major, rest = divmod(version.value, 1000)  # 13000 is 13.0, 12040 is 12.4
    capability = _attribute(driver, CAPABILITY_MAJOR, device), _attribute(driver, CAPABILITY_MINOR, device)
    return Gpu(name.value.decode(errors="replace"), (major, rest // 10), capability)


def _attribute(driver: Any, attribute: int, device: ctypes.c_int) -> int:
    value = ctypes.c_int()
    _require(driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device), "cuDeviceGetAttribute")
    return value.value


def _require(status: int, call: str) -> None:
    if status:
        raise ConfigError(f"the NVIDIA driver does not work: {call} answers {status}{_hidden()}")


def _hidden() -> str:
    """What hides GPUs from a process, where it is set."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"

"""The first GPU of this machine and its free memory, by NVIDIA's package `cuda-bindings`.

Uses CUDA's runtime rather than NVML, because it respects `CUDA_VISIBLE_DEVICES`. The package is loaded when
a GPU is first needed, since only the extra for GPUs installs it.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from diptych.errors import ConfigError, EncoderFailed

NO_GPU = "cudaErrorNoDevice"


@dataclass(frozen=True)
class Gpu:
    """The first GPU that this process may use, and the newest CUDA version that its driver runs."""

    name: str
    cuda: tuple[int, int]  # such as (13, 0)
    compute_capability: tuple[int, int]  # such as (9, 0)


def first_gpu() -> Gpu:
    """Return the first GPU. Raises ConfigError naming the package, the driver or the GPU as missing."""
    try:
        runtime = _runtime()
        version = _call(runtime.cudaDriverGetVersion)
        if not version:
            raise ConfigError("no NVIDIA driver is installed")
        if not _call(runtime.cudaGetDeviceCount):
            raise EncoderFailed(NO_GPU)
        properties = _call(runtime.cudaGetDeviceProperties, 0)
    except EncoderFailed as error:
        found = "finds no GPU" if str(error).endswith(NO_GPU) else f"does not work: {error}"
        raise ConfigError(f"the NVIDIA driver {found}{_hidden()}") from error
    major, rest = divmod(version, 1000)  # 13000 is 13.0, 12040 is 12.4
    name = properties.name.partition(b"\0")[0].decode(errors="replace")
    return Gpu(name, (major, rest // 10), (properties.major, properties.minor))


def free_bytes() -> int:
    """The free bytes of the first GPU's memory. Raises EncoderFailed."""
    free, _ = _call(_runtime().cudaMemGetInfo)
    return int(free)


def _runtime() -> Any:
    try:
        from cuda.bindings import runtime  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            f"the package cuda-bindings cannot be loaded ({error}): server[gpu] installs it"
        ) from error
    return runtime


def _call(function: Callable[..., tuple[Any, ...]], *values: Any) -> Any:
    """Call a CUDA function and return its results.

    Raises EncoderFailed with the status if that is an error.
    """
    status, *answers = function(*values)
    if status.value:
        raise EncoderFailed(f"{function.__name__} returned {status.name}")
    return answers[0] if len(answers) == 1 else tuple(answers)


def _hidden() -> str:
    """The value of CUDA_VISIBLE_DEVICES, which hides GPUs from a process, if it is set."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"

"""The options of onnxruntime's CUDA provider, and the check that this machine has what it needs."""

import contextlib
import ctypes
import io
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import onnxruntime as ort

from diptych.adapters.gpu import Gpu, first_gpu
from diptych.errors import ConfigError

CUDA_PROVIDER = "CUDAExecutionProvider"
CUDA_PACKAGE = "onnxruntime-gpu"
CUDNN = "cuDNN 9"  # that releases since 1.19 are built for
# Deliberately unset: `user_compute_stream`, a stream of our own.
CUDA_OPTIONS: dict[str, int | str | bool] = {
    "device_id": 0,  # the first one in CUDA_VISIBLE_DEVICES
    # An exhaustive search takes seconds for each new shape, and may choose another algorithm at the next
    # start, whose vectors would then differ from the stored ones.
    "cudnn_conv_algo_search": "HEURISTIC",
    "cudnn_conv_use_max_workspace": 1,  # no fast algorithm is excluded for lack of memory
    "do_copy_in_default_stream": 1,  # copies in another stream may race with the computation
    "use_tf32": 0,  # TF32 products have 10 bits of mantissa, and fp32 is the exact precision
}


def is_offered() -> bool:
    """Whether this build of onnxruntime has the CUDA provider, which may still fail to load."""
    return CUDA_PROVIDER in ort.get_available_providers()


def require_cuda() -> Gpu:
    """Return the GPU that sessions will use. Raises ConfigError naming the first thing that is missing."""
    if not is_offered():
        raise ConfigError(
            f"onnxruntime {ort.__version__} is built without {CUDA_PROVIDER}: {_what_to_install()}"
        )
    gpu = first_gpu()
    _require_driver(gpu)
    _require_libraries()
    return gpu


def wanted() -> str:
    """A sentence with the CUDA and cuDNN versions that this build of onnxruntime was made for."""
    return f"onnxruntime {ort.__version__} is built for CUDA {ort.cuda_version or '(unknown)'} and {CUDNN}"


def _what_to_install() -> str:
    """Say what to install.

    Both builds share one folder, where the one installed last overwrites the other.
    """
    try:
        version(CUDA_PACKAGE)
    except PackageNotFoundError:
        return "install server[gpu] instead of server[cpu]"
    return (
        f"the package onnxruntime has overwritten {CUDA_PACKAGE}, which is installed too: uninstall both, "
        f"and then install {CUDA_PACKAGE} alone"
    )


def _require_driver(gpu: Gpu) -> None:
    major = (ort.cuda_version or "").partition(".")[0]
    if major.isdigit() and gpu.cuda[0] < int(major):
        found = ".".join(map(str, gpu.cuda))
        raise ConfigError(f"the NVIDIA driver of {gpu.name} runs CUDA up to {found} only, and {wanted()}")


def _require_libraries() -> None:
    """Load the libraries of the provider. Raises ConfigError where onnxruntime would warn and use the CPU.

    CUDA libraries that were installed as Python packages are not on the system's search path, so they are
    loaded first.
    """
    # TensorRT has no option for it, and its libraries read the variable once. CUDA has one: see above.
    os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
        ort.preload_dlls()
    for name in ("shared", "cuda"):  # the second needs the first
        load_provider_library(name)


def load_provider_library(name: str) -> ctypes.CDLL | None:
    """Load onnxruntime's library of a provider, and those that it needs; None if this build has none.

    Raises ConfigError naming the library that is missing.
    """
    folder, library = Path(ort.__file__).parent / "capi", None
    for file in folder.glob(f"*onnxruntime_providers_{name}.*"):
        try:
            library = ctypes.CDLL(str(file), mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            extra = "server[tensorrt] in addition to server[gpu]" if name == "tensorrt" else "server[gpu]"
            raise ConfigError(
                f"onnxruntime's provider {name} cannot be loaded: {error}; {wanted()}: install {extra}, "
                "which includes the libraries, or name their folder in LD_LIBRARY_PATH"
            ) from error
    return library

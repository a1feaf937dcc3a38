"""What onnxruntime needs in order to run on a GPU, and what of that is missing here. Knows no graph."""

import contextlib
import ctypes
import io
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import onnxruntime as ort

from diptych.adapters.cuda.device import Gpu, first_gpu
from diptych.errors import ConfigError

CUDA_PROVIDER = "CUDAExecutionProvider"
CUDA_PACKAGE = "onnxruntime-gpu"
CUDNN = "cuDNN 9"  # which releases since 1.19 are built for
CUDA_GRAPHS = "enable_cuda_graph"  # an option beside these, of sessions that capture
# Not here: a stream of our own (`user_compute_stream`).
CUDA_OPTIONS: dict[str, int | str] = {
    "device_id": 0,  # the first that CUDA_VISIBLE_DEVICES leaves
    "arena_extend_strategy": "kSameAsRequested",  # batches have few sizes: memory that doubles is never used
    # Searching by trial takes seconds for each new shape, and may choose otherwise at the next start, whose
    # vectors would then differ from those that are kept.
    "cudnn_conv_algo_search": "HEURISTIC",
    "cudnn_conv_use_max_workspace": 1,  # of fast algorithms none is left out for want of memory
    "do_copy_in_default_stream": 1,  # copies beside the computation may race with it
    "use_tf32": 0,  # products of 10 bits are no float32: fp32 is the exact precision
}


def is_offered() -> bool:
    """Whether this build of onnxruntime has CUDA at all; it may still not load."""
    return CUDA_PROVIDER in ort.get_available_providers()


def require_cuda() -> Gpu:
    """The GPU that sessions will get. Raises ConfigError that names the first thing that is missing."""
    if not is_offered():
        raise ConfigError(
            f"onnxruntime {ort.__version__} is built without {CUDA_PROVIDER}: {_what_to_install()}"
        )
    gpu = first_gpu()
    _require_driver(gpu)
    _require_libraries()
    return gpu


def wanted() -> str:
    """The versions that this build was made for."""
    return f"onnxruntime {ort.__version__} is built for CUDA {ort.cuda_version or '(unknown)'} and {CUDNN}"


def _what_to_install() -> str:
    """Both builds are one folder, and the one that was installed last lies over the other."""
    try:
        version(CUDA_PACKAGE)
    except PackageNotFoundError:
        return "server[gpu] in place of server[cpu] brings one that has it"
    return (
        f"the package onnxruntime lies over {CUDA_PACKAGE}, which is installed too: uninstall both, and then "
        f"install {CUDA_PACKAGE} alone"
    )


def _require_driver(gpu: Gpu) -> None:
    major = (ort.cuda_version or "").partition(".")[0]
    if major.isdigit() and gpu.cuda[0] < int(major):
        found = ".".join(map(str, gpu.cuda))
        raise ConfigError(f"the NVIDIA driver of {gpu.name} runs CUDA up to {found} only, and {wanted()}")


def _require_libraries() -> None:
    """What onnxruntime itself only warns of before it goes on with the CPU.

    The libraries of CUDA that were installed as packages are not where the system looks: they are loaded
    before, and then found.
    """
    said = io.StringIO()
    with contextlib.redirect_stdout(said):  # it prints what it does not find
        ort.preload_dlls()
    folder = Path(ort.__file__).parent / "capi"
    for name in ("shared", "cuda"):  # the second needs the first
        for library in folder.glob(f"*onnxruntime_providers_{name}.*"):
            try:
                ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
            except OSError as error:
                raise ConfigError(
                    f"{CUDA_PROVIDER} cannot be loaded: {error}; {wanted()}: install server[gpu], which "
                    "brings them, or name their folder in LD_LIBRARY_PATH"
                ) from error

"""The options of onnxruntime's TensorRT provider, and the check that this machine has what it needs.

Written against the documentation and the source of onnxruntime; not yet run on a GPU. No option for types is
set: onnxruntime then builds strongly typed networks, which compute in the types that the graph states.
"""

import contextlib
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort

from diptych.adapters.onnxruntime.cuda_provider import load_provider_library, require_cuda
from diptych.errors import ConfigError

TENSORRT_PROVIDER = "TensorrtExecutionProvider"
LIBRARIES = "tensorrt_libs"  # the module of server[tensorrt], which loads its libraries when it is imported
# of GPU memory: without a limit the builder may take all that another server leaves free
MAX_WORKSPACE_BYTES = 1 << 30
USUAL_BATCH = 32  # kernels are chosen for batches of this size
USUAL_LENGTH = 16  # and texts of this length in tokens: a caption or a label with start and end

Shape = tuple[int, ...]
Options = dict[str, int | str | bool]


@dataclass(frozen=True)
class Shapes:
    """The smallest, the usual and the largest shape of the input of a graph."""

    smallest: Shape
    usual: Shape
    largest: Shape


@dataclass(frozen=True)
class Engines:
    """The folder with the engines of both graphs of a model, and the shapes that they take."""

    folder: Path
    images: Shapes
    texts: Shapes


def image_shapes(size: int, max_batch: int) -> Shapes:
    """The shapes of (B, S, S, 3) pixels, for batches of up to `max_batch`."""
    return Shapes(*((n, size, size, 3) for n in (1, min(USUAL_BATCH, max_batch), max_batch)))


def text_shapes(lengths: Sequence[int], max_batch: int) -> Shapes:
    """The shapes of (B, L) token ids, for batches of up to `max_batch` and ascending `lengths`."""
    shortest, longest = lengths[0], lengths[-1]
    usual = min(max(shortest, USUAL_LENGTH), longest)
    return Shapes((1, shortest), (min(USUAL_BATCH, max_batch), usual), (max_batch, longest))


def tensorrt_options(source: str, shapes: Shapes, folder: Path) -> Options:
    """The options of a session whose input is `source`, and whose engines are in `folder`, or built there."""
    return {
        **_engine_options(source, shapes),
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": str(folder),
    }


def compiling_options(source: str, shapes: Shapes, target: Path) -> Options:
    """The options of a session that writes its graph with the engine inside, as an EPContext model."""
    return {
        **_engine_options(source, shapes),
        "trt_dump_ep_context_model": True,
        "trt_ep_context_file_path": str(target),
        "trt_ep_context_embed_mode": 1,
    }


def require_tensorrt() -> str:
    """Load TensorRT and return its release, such as 10.16.2. Raises ConfigError naming what is missing."""
    require_cuda()
    if TENSORRT_PROVIDER not in ort.get_available_providers():
        raise ConfigError(f"onnxruntime {ort.__version__} is built without {TENSORRT_PROVIDER}")
    with contextlib.suppress(ModuleNotFoundError):  # then those of the system are taken
        importlib.import_module(LIBRARIES)
    library = load_provider_library("tensorrt")
    if library is None:
        raise ConfigError(f"onnxruntime {ort.__version__} lacks the library of {TENSORRT_PROVIDER}")
    return release(library.getInferLibVersion())  # of libnvinfer, which the library has loaded


def release(number: int) -> str:
    """101602 -> 10.16.2."""
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def _engine_options(source: str, shapes: Shapes) -> Options:
    return {
        "device_id": 0,  # the first one in CUDA_VISIBLE_DEVICES
        "trt_max_workspace_size": MAX_WORKSPACE_BYTES,
        # With shapes the engine is built when the session is made, not during the first batches.
        "trt_profile_min_shapes": _profile(source, shapes.smallest),
        "trt_profile_opt_shapes": _profile(source, shapes.usual),
        "trt_profile_max_shapes": _profile(source, shapes.largest),
    }


def _profile(source: str, shape: Shape) -> str:
    return f"{source}:{'x'.join(map(str, shape))}"

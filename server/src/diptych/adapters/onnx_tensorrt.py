"""What onnxruntime needs in order to run in TensorRT, and what of that is missing here. Knows no graph."""

import ctypes
import importlib
import importlib.util
import re
from pathlib import Path

import onnxruntime as ort

from diptych.errors import ConfigError

TENSORRT_PROVIDER = "TensorrtExecutionProvider"
PACKAGE = "tensorrt_libs"  # of tensorrt-cu13-libs
NEEDED = re.compile(rb"lib(?:nvinfer|nvonnxparser)\.so\.\d+")

Options = dict[str, int | str]


def require_tensorrt() -> str:
    """The version that sessions will get, such as 10.16.1. Raises ConfigError that names what is missing.

    To be called once CUDA's own libraries are loaded.
    """
    if TENSORRT_PROVIDER not in ort.get_available_providers():
        raise ConfigError(f"onnxruntime {ort.__version__} is built without {TENSORRT_PROVIDER}")
    if importlib.util.find_spec(PACKAGE) is not None:
        importlib.import_module(PACKAGE)  # loads its libraries, which are not where the system looks
    for file in (Path(ort.__file__).parent / "capi").glob("*onnxruntime_providers_tensorrt.*"):
        try:
            provider = ctypes.CDLL(str(file))
        except OSError as error:
            raise ConfigError(
                f"{TENSORRT_PROVIDER} cannot be loaded: {error}; onnxruntime {ort.__version__} is built for "
                f"CUDA {ort.cuda_version or '(unknown)'} and {_wanted(file)}{_brought()}: install "
                "server[tensorrt], which brings what fits, or name their folder in LD_LIBRARY_PATH"
            ) from error
        return _spelled(int(provider.getInferLibVersion()))  # of the library that it is linked to
    raise ConfigError(f"onnxruntime {ort.__version__} lacks the library of its {TENSORRT_PROVIDER}")


def _wanted(provider: Path) -> str:
    """The libraries of TensorRT that a provider is linked to."""
    names = sorted({name.decode() for name in NEEDED.findall(provider.read_bytes())})
    return " and ".join(names) or "libraries of TensorRT"


def _brought() -> str:
    """What an installed package has in their place."""
    spec = importlib.util.find_spec(PACKAGE)
    folders = [] if spec is None else spec.submodule_search_locations or []
    found = sorted(file.name for folder in folders for file in Path(folder).glob("libnvinfer.so.*"))
    return f" (the package {PACKAGE} here has {', '.join(found)})" if found else ""


def _spelled(version: int) -> str:
    """101601 -> 10.16.1"""
    major, rest = divmod(version, 10_000)
    return f"{major}.{rest // 100}.{rest % 100}"

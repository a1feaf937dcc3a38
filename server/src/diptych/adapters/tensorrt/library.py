"""The `tensorrt` package: its release, its log and its last error.

The package is loaded when it is first needed, because that takes seconds and gigabytes.
"""

import importlib
import logging
from collections.abc import Sequence
from functools import cache
from typing import Any

from diptych.errors import ConfigError

LOG = logging.getLogger("diptych.tensorrt")
OLDEST = (10, 12)  # since then networks can be strongly typed only
MODULES = ("tensorrt_bindings", "tensorrt")  # of server[tensorrt]; of NVIDIA's images and system packages


@cache
def load_tensorrt() -> Any:
    """Load the package. Raises ConfigError saying what is missing."""
    tensorrt = _import_first(MODULES)
    if _release(tensorrt.__version__) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise ConfigError(
            f"TensorRT {tensorrt.__version__} is installed, the oldest supported release is {oldest}"
        )
    return tensorrt


def _import_first(names: Sequence[str]) -> Any:
    """Import the first module that is installed. Raises ConfigError."""
    for name in names:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise ConfigError(f"TensorRT cannot be loaded: {error}") from error
        except (ImportError, OSError) as error:  # importing it loads its libraries
            raise ConfigError(f"TensorRT cannot be loaded: {error}") from error
    raise ConfigError("TensorRT is not installed: install server[tensorrt] in addition to server[gpu]")


def tensorrt_version() -> str:
    """The release of TensorRT, such as 10.16.1.11. Raises ConfigError if it is not installed."""
    return str(load_tensorrt().__version__)


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


@cache
def tensorrt_log() -> Any:
    """The logger for all of TensorRT, which must outlive it; `last_error` is its latest error message."""
    tensorrt = load_tensorrt()
    severity = tensorrt.ILogger.Severity

    class Log(tensorrt.ILogger):  # type: ignore[misc, name-defined]
        """Passes errors to our log and drops the rest."""

        def __init__(self) -> None:
            tensorrt.ILogger.__init__(self)  # the binding requires the explicit call
            self.last_error = ""

        def log(self, level: Any, message: str) -> None:
            """Receive one line, from any thread."""
            if level in (severity.INTERNAL_ERROR, severity.ERROR):
                self.last_error = message
                LOG.warning("TensorRT: %s", message)

    return Log()


def take_error(otherwise: str) -> str:
    """Return and clear TensorRT's latest error message; `otherwise` if there is none."""
    log = tensorrt_log()
    message, log.last_error = log.last_error, ""
    return message or otherwise

"""The `tensorrt` package: which release is here, and what it says when it fails. Knows no graph.

It is loaded when it is asked for, and not before: it takes seconds and gigabytes.
"""

import importlib
import logging
from collections.abc import Sequence
from functools import cache
from typing import Any

from diptych.errors import ConfigError

LOG = logging.getLogger("diptych.tensorrt")
OLDEST = (10, 12)  # since then networks are typed by their graphs alone
MODULES = ("tensorrt_bindings", "tensorrt")  # of server[tensorrt]; of NVIDIA's images and system packages


@cache
def load_tensorrt() -> Any:
    """The package. Raises ConfigError that says what is missing."""
    tensorrt = _import_first(MODULES)
    if _release(tensorrt.__version__) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise ConfigError(f"TensorRT {tensorrt.__version__} is here, the oldest that will do is {oldest}")
    return tensorrt


def _import_first(names: Sequence[str]) -> Any:
    """The first that is installed."""
    for name in names:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise ConfigError(f"TensorRT cannot be loaded: {error}") from error
        except (ImportError, OSError) as error:  # its libraries are loaded as it is imported
            raise ConfigError(f"TensorRT cannot be loaded: {error}") from error
    raise ConfigError("TensorRT is not here: server[tensorrt] brings it, beside server[gpu]")


def tensorrt_version() -> str:
    """Such as 10.16.1.11. Raises ConfigError where there is none."""
    return str(load_tensorrt().__version__)


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


@cache
def tensorrt_log() -> Any:
    """One logger for all that TensorRT does here, and that outlives it; `last_error` is what it said."""
    tensorrt = load_tensorrt()
    severity = tensorrt.ILogger.Severity

    class Log(tensorrt.ILogger):  # type: ignore[misc, name-defined]
        """Errors go to our log, the rest is not for it."""

        def __init__(self) -> None:
            tensorrt.ILogger.__init__(self)  # as its binding wants it
            self.last_error = ""

        def log(self, level: Any, message: str) -> None:
            """Hear one line; may come from any thread."""
            if level in (severity.INTERNAL_ERROR, severity.ERROR):
                self.last_error = message
                LOG.warning("TensorRT: %s", message)

    return Log()


def take_error(otherwise: str) -> str:
    """What TensorRT said last, once; or `otherwise`, where it said nothing."""
    log = tensorrt_log()
    said, log.last_error = log.last_error, ""
    return said or otherwise

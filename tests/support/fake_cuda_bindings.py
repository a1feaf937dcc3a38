"""A fake of NVIDIA's package `cuda.bindings` on a machine with a GPU.

gpu = FakeGpu().install(monkeypatch)
"""

import sys
from collections.abc import Callable
from enum import IntEnum
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

Status = IntEnum(
    "cudaError_t",
    {
        "cudaSuccess": 0,
        "cudaErrorMemoryAllocation": 2,
        "cudaErrorInsufficientDriver": 35,
        "cudaErrorNoDevice": 100,
        "cudaErrorSystemDriverMismatch": 803,
    },
)
OK = Status["cudaSuccess"]


class FakeGpu:
    """The properties of the machine. Attributes may be changed at any time."""

    def __init__(self, name: str = "NVIDIA H100") -> None:
        self.name = name
        self.capability = (9, 0)
        self.cuda = 13000  # the newest that its driver runs; 0 where there is no driver
        self.free_bytes = 80 << 30
        self.fails: dict[str, str] = {}  # names of functions, and of what they answer
        self.answers: dict[str, Callable[..., Any]] = {}  # what takes the place of functions

    def install(self, monkeypatch: pytest.MonkeyPatch) -> "FakeGpu":
        """Replace the package for the rest of the test."""
        runtime: Any = ModuleType("cuda.bindings.runtime")
        for function in (
            self.cudaDriverGetVersion, self.cudaGetDeviceCount, self.cudaGetDeviceProperties,
            self.cudaMemGetInfo,
        ):  # fmt: skip
            setattr(runtime, function.__name__, self._or_failing(function))
        bindings: Any = ModuleType("cuda.bindings")
        bindings.runtime = runtime
        for name, module in (("cuda", ModuleType("cuda")), ("cuda.bindings", bindings)):
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", runtime)
        return self

    def _or_failing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        name = function.__name__

        def call(*values: Any) -> Any:
            if name in self.fails:
                return Status[self.fails[name]], None
            return self.answers.get(name, function)(*values)

        call.__name__ = name
        return call

    def cudaDriverGetVersion(self) -> Any:
        return OK, self.cuda

    def cudaGetDeviceCount(self) -> Any:
        return (OK, 1) if self.cuda else (Status["cudaErrorInsufficientDriver"], None)

    def cudaGetDeviceProperties(self, device: int) -> Any:
        major, minor = self.capability
        return OK, SimpleNamespace(name=self.name.encode(), major=major, minor=minor)

    def cudaMemGetInfo(self) -> Any:
        return OK, self.free_bytes, 80 << 30

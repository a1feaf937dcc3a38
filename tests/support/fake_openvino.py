"""A fake of OpenVINO's plugin of onnxruntime. onnxruntime's own CPU provider computes.

    plugin = FakeOpenVino().install(monkeypatch)     # a processor with bf16
    plugin.fails_with = RuntimeError("...")          # a compiler that fails

Sessions are real ones in float32 that report OpenVINO as their provider.
"""

import sys
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import onnxruntime as ort
import pytest

from diptych.adapters.onnxruntime import session
from diptych.adapters.onnxruntime.openvino_provider import OPENVINO_PROVIDER, PLUGIN

OPENVINO = OPENVINO_PROVIDER


@dataclass
class FakeOpenVino:
    """The properties of the machine, and a record of calls. Attributes may be changed at any time."""

    capabilities: str | None = "BF16 WINOGRAD FP32 INT8"  # None: the plugin does not know the processor
    fails_with: Exception | None = None  # raised when a session is made
    falls_back: bool = False  # sessions report onnxruntime's CPU provider
    turned: float = 0.0  # radians by which rows are wrong
    turned_alone: float = 0.0  # further radians, of the row of a batch of one
    n_threads: list[int] = field(default_factory=list)  # of each session
    ran: list[tuple[int, ...]] = field(default_factory=list)  # shapes of batches

    def install(self, monkeypatch: pytest.MonkeyPatch) -> "FakeOpenVino":
        """Install it for the rest of the test."""
        fake = self
        others = [one for one in ort.get_ep_devices() if not one.ep_name.startswith(OPENVINO)]

        class Session(_Session):
            plugin: ClassVar = fake

        library = f"library of plugin {id(self)}"
        monkeypatch.setitem(sys.modules, PLUGIN, SimpleNamespace(get_library_path=lambda: library))
        monkeypatch.setattr(ort, "register_execution_provider_library", lambda name, library: None)
        monkeypatch.setattr(ort, "get_ep_devices", lambda: [*others, *self.devices()])
        monkeypatch.setattr(session, "compute_in_bf16", lambda _, n_threads: self.n_threads.append(n_threads))
        monkeypatch.setattr(ort, "InferenceSession", Session)
        return self

    def devices(self) -> list[Any]:
        """Return the devices of the plugin: the processor, and one that chooses among devices."""
        if self.capabilities is None:
            return []
        names = {OPENVINO: {}, f"{OPENVINO}.AUTO": {"ov_meta_device": "AUTO"}}
        shared = {"ov_device": "CPU", "version": "1.8.1", "OPTIMIZATION_CAPABILITIES": self.capabilities}
        return [
            SimpleNamespace(ep_name=name, ep_metadata=shared | metadata) for name, metadata in names.items()
        ]


class _Session(ort.InferenceSession):
    plugin: ClassVar[FakeOpenVino]

    def __init__(self, path: Any, options: Any = None, providers: Any = None, **kwargs: Any) -> None:
        self._by_plugin = providers is None
        if self._by_plugin and self.plugin.fails_with is not None:
            raise self.plugin.fails_with
        super().__init__(path, options, providers or ["CPUExecutionProvider"], **kwargs)

    def get_providers(self) -> list[str]:
        by_plugin = self._by_plugin and not self.plugin.falls_back
        return [OPENVINO] if by_plugin else list(super().get_providers())

    def get_provider_graph_assignment_info(self) -> Any:
        return [SimpleNamespace(ep_name=OPENVINO, get_nodes=lambda: [SimpleNamespace(op_type="Conv")])]

    def run(self, names: Any, inputs: Any, options: Any = None) -> Any:
        (rows,) = super().run(names, inputs, options)
        if not self._by_plugin:
            return [rows]
        self.plugin.ran += [batch.shape for batch in inputs.values()]
        return [_turned(rows, self.plugin.turned + (self.plugin.turned_alone if len(rows) == 1 else 0))]


def _turned(rows: Any, angle: float) -> Any:
    """Turn each row of (N, D) by so many radians."""
    other = np.roll(rows, 1, axis=1)
    other -= np.sum(other * rows, axis=1, keepdims=True) * rows
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    return (np.cos(angle) * rows + np.sin(angle) * other).astype(np.float32)

"""A fake of onnxruntime on a machine with a GPU. The CPU computes; arguments pass through the real classes.

    cuda = FakeCuda().install(monkeypatch)      # a GPU that works
    cuda.fails_with = RuntimeError("...")       # one that does not

Sessions are real ones that report CUDA as their provider, and values on the GPU are real values that report
the GPU; the host reads copies of them. Captured runs behave like CUDA graphs: a replay computes with the
buffers that were bound at the capture, graphs belong to the thread that captured them, and nothing else may
run during a capture.
"""

import inspect
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import onnxruntime as ort
import pytest

from support.fake_cuda_bindings import FakeGpu
from support.largest_id import has_integer_argmax

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
CARD = "A card"
NO_GRAPH = "-1"
# Of the provider: what its parser takes, and of those that are closed, which values.
KNOWN_OPTIONS = {
    "device_id", "gpu_mem_limit", "arena_extend_strategy", "cudnn_conv_algo_search",
    "cudnn_conv_use_max_workspace", "do_copy_in_default_stream", "use_tf32", "enable_cuda_graph",
    "user_compute_stream", "prefer_nhwc", "cudnn_conv1d_pad_to_nc1d", "use_ep_level_unified_stream",
}  # fmt: skip
KNOWN_VALUES = {
    "arena_extend_strategy": {"kNextPowerOfTwo", "kSameAsRequested"},
    "cudnn_conv_algo_search": {"EXHAUSTIVE", "HEURISTIC", "DEFAULT"},
}
NOT_ALL_ON_CUDA = (  # of onnxruntime
    "This session cannot use the graph capture feature as requested by the user as all compute graph nodes "
    "have not been partitioned to the CUDAExecutionProvider"
)
_COUNTING = threading.Lock()
_VALUE = inspect.signature(ort.OrtValue.ortvalue_from_shape_and_type)


class GpuValue(ort.OrtValue):
    """A value on the GPU. The host reads a copy of it, and writes it from memory that may be page-locked."""

    fake: "FakeCuda"

    def numpy(self) -> Any:
        return super().numpy().copy()

    def update_inplace(self, data: Any) -> None:
        self.fake.from_page_locked.append(data.ctypes.data in self.fake.gpu.on_host)
        super().update_inplace(data)


@dataclass
class FakeCuda:
    """The properties of the machine, and a record of calls. Attributes may be changed at any time."""

    is_offered: bool = True  # by the build of onnxruntime
    falls_back: bool = False  # with a mere warning, as it does where a library is missing
    fails_with: Exception | None = None  # raised when a session is made on the GPU
    wrong_precisions: tuple[str, ...] = ()  # parts of names of files whose rows come out turned round
    cpu_operators: tuple[str, ...] = ()  # that it has no kernel for, beside ArgMax over integers
    gpu: FakeGpu = field(default_factory=lambda: FakeGpu(CARD))
    options: list[dict[str, Any]] = field(default_factory=list)  # of each session on the GPU
    inputs: list[tuple[int, ...]] = field(default_factory=list)  # shapes that were laid out on the GPU
    from_page_locked: list[bool] = field(default_factory=list)  # of each batch that was copied to the GPU
    capture_fails: str = ""  # what it says of runs that cannot be captured
    captured: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)  # thread, shape of each capture
    n_replays: int = 0
    wrong_shapes: set[tuple[int, ...]] = field(default_factory=set)  # of batches, whose replays are turned
    stale_shapes: set[tuple[int, ...]] = field(default_factory=set)  # whose replays leave what was there
    released: list[int] = field(default_factory=list)  # numbers of graphs
    n_freed: int = 0  # sessions
    on_load: Callable[[], None] = lambda: None  # called as a session is made on the GPU
    n_running: int = 0
    is_capturing: bool = False

    def install(self, monkeypatch: pytest.MonkeyPatch) -> "FakeCuda":
        """Install it for the rest of the test, with the driver of its GPU."""
        fake = self

        class Session(_Session):
            cuda: ClassVar = fake

        self.gpu.install(monkeypatch)
        monkeypatch.setattr(ort, "InferenceSession", Session)
        monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU] if self.is_offered else [CPU])
        monkeypatch.setattr(ort, "preload_dlls", lambda: None)
        monkeypatch.setattr(ort.OrtValue, "ortvalue_from_shape_and_type", self._value)

        def bind(binding: Any, name: str, value: ort.OrtValue) -> None:
            _real_bind(binding, name, value)
            binding.bound_shape = tuple(value.shape())
            fake.inputs.append(binding.bound_shape)

        monkeypatch.setattr(ort.IOBinding, "bind_ortvalue_input", bind)
        return self

    def _value(self, *args: Any, **options: Any) -> ort.OrtValue:
        given = _VALUE.bind(*args, **options)
        given.apply_defaults()
        shape, element_type, device, number, _, memory = given.args
        assert (device, number, memory) == ("cuda", 0, None)
        value = GpuValue(_real_value(shape, element_type)._ortvalue)
        value.fake = self
        return value


_real_bind = ort.IOBinding.bind_ortvalue_input
_real_value = ort.OrtValue.ortvalue_from_shape_and_type


class _Session(ort.InferenceSession):
    cuda: ClassVar[FakeCuda]

    def __init__(
        self,
        path_or_bytes: Any,
        sess_options: Any = None,
        providers: Any = None,
        provider_options: Any = None,
        **kwargs: Any,
    ) -> None:
        names = [one if isinstance(one, str) else one[0] for one in providers]
        self._turned = self._captures = False
        self._graphs: dict[tuple[int, str], Any] = {}  # bindings
        self._on_cpu = {*self.cuda.cpu_operators}
        if names[0] == CUDA:
            self._ask_for_gpu(str(path_or_bytes) if isinstance(path_or_bytes, str) else "", providers[0])
            if has_integer_argmax(path_or_bytes):
                self._on_cpu.add("ArgMax")
        self._named = [CPU] if self.cuda.falls_back else names
        super().__init__(path_or_bytes, sess_options, [CPU], provider_options, **kwargs)
        assert not self._enable_fallback, "it would go on with the CPU when a batch fails"
        if self._captures and self._on_cpu and self._on_cpu & set(self._kinds()):
            raise RuntimeError(NOT_ALL_ON_CUDA)

    def __del__(self) -> None:
        self.cuda.n_freed += getattr(self, "_named", [CPU])[0] != CPU

    def _ask_for_gpu(self, file: str, provider: tuple[str, dict[str, Any]]) -> None:
        _, options = provider
        assert options.keys() <= KNOWN_OPTIONS
        for name, values in KNOWN_VALUES.items():
            assert options.get(name, next(iter(values))) in values
        if self.cuda.fails_with is not None:
            raise self.cuda.fails_with
        self.cuda.on_load()
        self.cuda.options.append(options)
        self._turned = any(part in file for part in self.cuda.wrong_precisions)
        self._captures = options.get("enable_cuda_graph") == 1

    def _kinds(self) -> list[str]:
        parts = super().get_provider_graph_assignment_info()
        return [node.op_type for part in parts for node in part.get_nodes()]

    def get_providers(self) -> list[str]:
        return self._named

    def get_provider_graph_assignment_info(self) -> Any:
        placed: dict[str, list[Any]] = {CUDA: [], CPU: []}
        for kind in self._kinds():
            placed[CPU if kind in self._on_cpu else CUDA].append(SimpleNamespace(op_type=kind))
        return [SimpleNamespace(ep_name=name, get_nodes=lambda n=nodes: n) for name, nodes in placed.items()]

    def run(self, output_names: Any, input_feed: Any, run_options: Any = None) -> Any:
        if self._captures:
            assert run_options.get_run_config_entry("gpu_graph_id") == NO_GRAPH, "it would be captured"
        with self._busy():
            (rows,) = super().run(output_names, input_feed, run_options)
        return [-rows if self._turned else rows]

    def run_with_iobinding(self, iobinding: Any, run_options: Any = None) -> None:
        is_replay = False
        if self._captures and run_options.get_run_config_entry("gpu_graph_id") != NO_GRAPH:
            iobinding, is_replay = self._captured(iobinding, run_options)
        if not (is_replay and iobinding.bound_shape in self.cuda.stale_shapes):
            with self._busy():
                super().run_with_iobinding(iobinding, run_options)
        if self._turned or (is_replay and iobinding.bound_shape in self.cuda.wrong_shapes):
            (rows,) = iobinding.get_outputs()
            np.negative(rows.numpy(), out=rows.numpy())

    def release_captured_graph(self, graph_annotation_id: int = 0) -> None:
        self.cuda.released.append(graph_annotation_id)

    def _captured(self, iobinding: Any, run_options: Any) -> tuple[Any, bool]:
        """Return the buffers of a run, and whether it is a replay. The first run in a thread captures."""
        number = run_options.get_run_config_entry("gpu_graph_id")
        assert number not in {"", "0"}, "0 is onnxruntime's own"
        key = threading.get_ident(), number
        if key in self._graphs:
            self.cuda.n_replays += 1
            return self._graphs[key], True
        if self.cuda.n_running:
            raise RuntimeError("CUDA failure 900: operation not permitted when stream is capturing")
        self.cuda.is_capturing = True
        time.sleep(0.002)
        self.cuda.is_capturing = False
        if self.cuda.capture_fails:
            raise RuntimeError(self.cuda.capture_fails)
        self.cuda.captured.append((threading.get_ident(), iobinding.bound_shape))
        self._graphs[key] = iobinding
        return iobinding, False

    @contextmanager
    def _busy(self) -> Iterator[None]:
        if self.cuda.is_capturing:
            raise RuntimeError("CUDA failure 900: operation not permitted when stream is capturing")
        with _COUNTING:
            self.cuda.n_running += 1
        try:
            yield
        finally:
            with _COUNTING:
                self.cuda.n_running -= 1

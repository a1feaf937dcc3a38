"""onnxruntime as on a machine with a GPU, computed by the CPU: what it is told goes through the real classes.

    cuda = FakeCuda().install(monkeypatch)      # a GPU that works
    cuda.fails_with = RuntimeError("...")       # one that does not

Sessions are real ones that say they run on CUDA, values on the GPU real ones that say so; what the host reads
of them is a copy. A call that the real class has no such parameters for fails here too.

Captured runs have the traps of CUDA graphs: a replay computes with the buffers that were bound when it was
captured, whatever is bound now; graphs belong to the thread that captured them; and nothing else may run
meanwhile.
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

from diptych.adapters import onnx_cuda
from diptych.adapters.cuda_driver import Gpu
from diptych.adapters.cuda_memory import CudaMemory
from diptych.adapters.gpu_gate import GATE
from support.fake_gpu import FakeGpu
from support.fake_tensorrt import TENSORRT, Engine, FakeTensorRt
from support.largest_id import has_integer_argmax

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
CARD = Gpu("A card", (13, 0), (9, 0))
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
    """A value on the GPU: the host reads a copy of it, and writes it from memory that may be page-locked."""

    fake: "FakeCuda"

    def numpy(self) -> Any:
        return super().numpy().copy()

    def update_inplace(self, data: Any) -> None:
        self.fake.from_page_locked.append(data.ctypes.data in self.fake.gpu.on_host)
        super().update_inplace(data)


@dataclass
class FakeCuda:
    """What the machine is like, and what it was asked for. Attributes may be changed at any time."""

    is_offered: bool = True  # by the build of onnxruntime
    falls_back: bool = False  # with a mere warning, as it does where a library is missing
    fails_with: Exception | None = None  # raised when a session is made on the GPU
    wrong_precisions: tuple[str, ...] = ()  # parts of names of files whose rows come out turned round
    cpu_operators: tuple[str, ...] = ()  # that it has no kernel for, beside ArgMax over integers
    gpu: FakeGpu = field(default_factory=FakeGpu)  # whose driver has page-locked memory
    options: list[dict[str, Any]] = field(default_factory=list)  # of each session on the GPU
    shapes: list[tuple[int, ...]] = field(default_factory=list)  # of values on the GPU
    from_page_locked: list[bool] = field(default_factory=list)  # of each batch that was copied to the GPU
    capture_fails: str = ""  # what it says of runs that cannot be captured
    captured: list[tuple[int, str]] = field(default_factory=list)  # thread and number of each capture
    n_replays: int = 0
    wrong_replays: bool = False  # as where something writes into the buffers of a graph
    wrong_shapes: set[tuple[int, ...]] = field(default_factory=set)  # of batches, whose replays alone are
    stale_shapes: set[tuple[int, ...]] = field(default_factory=set)  # whose replays leave what was there
    released: list[int] = field(default_factory=list)  # numbers of graphs
    tensorrt: FakeTensorRt | None = None  # where it is offered
    freed: list[bool] = field(default_factory=list)  # of each session: whether nothing could capture then
    on_load: Callable[[], None] = lambda: None  # called as a session is made on the GPU
    n_running: int = 0
    is_capturing: bool = False

    def install(self, monkeypatch: pytest.MonkeyPatch) -> "FakeCuda":
        """For the rest of the test."""
        fake = self

        class Session(_Session):
            cuda: ClassVar = fake

        monkeypatch.setattr(ort, "InferenceSession", Session)
        monkeypatch.setattr(ort, "get_available_providers", self._offered)
        monkeypatch.setattr(ort.OrtValue, "ortvalue_from_shape_and_type", self._value)
        monkeypatch.setattr(ort.IOBinding, "bind_ortvalue_input", _bind)
        monkeypatch.setattr(CudaMemory.__init__, "__defaults__", (self.gpu.load,))
        monkeypatch.setattr(onnx_cuda, "first_gpu", lambda: CARD)
        monkeypatch.setattr(onnx_cuda, "_require_libraries", lambda: None)  # a build for GPUs may be here
        return self

    def _offered(self) -> list[str]:
        tensorrt = [TENSORRT] if self.tensorrt else []
        return [*tensorrt, CUDA, CPU] if self.is_offered else [CPU]

    def _value(self, *args: Any, **options: Any) -> ort.OrtValue:
        given = _VALUE.bind(*args, **options)
        given.apply_defaults()
        shape, element_type, device, number, _, memory = given.args
        made = _real_value(shape, element_type)
        if device == "cpu":
            return made
        assert (device, number, memory) == ("cuda", 0, None)
        self.shapes.append(tuple(shape))
        value = GpuValue(made._ortvalue)
        value.fake = self
        return value


_real_bind = ort.IOBinding.bind_ortvalue_input


def _bind(binding: Any, name: str, value: ort.OrtValue) -> None:
    _real_bind(binding, name, value)
    binding.bound_shape = tuple(value.shape())


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
        self._engine: Engine | None = None
        self._graphs: dict[tuple[int, str], Any] = {}  # bindings
        if names[0] == CUDA:
            self._ask_for_gpu(str(path_or_bytes) if isinstance(path_or_bytes, str) else "", providers[0])
        self._on_cpu = {*self.cuda.cpu_operators}
        if names[0] == CUDA and has_integer_argmax(path_or_bytes):
            self._on_cpu.add("ArgMax")
        if names[0] == TENSORRT:
            assert names == [TENSORRT, CUDA, CPU]
            assert self.cuda.tensorrt is not None
            self._engine = Engine(self.cuda.tensorrt, path_or_bytes, providers[0][1])
        self._named = [CPU] if self.cuda.falls_back else names
        super().__init__(path_or_bytes, sess_options, [CPU], provider_options, **kwargs)
        assert not self._enable_fallback, "it would go on with the CPU when a batch fails"
        if (
            self._captures
            and self._on_cpu
            and any(
                node.op_type in self._on_cpu
                for part in super().get_provider_graph_assignment_info()
                for node in part.get_nodes()
            )
        ):
            raise RuntimeError(NOT_ALL_ON_CUDA)

    def __del__(self) -> None:
        if getattr(self, "_named", [CPU])[0] != CPU:
            self.cuda.freed.append(bool(GATE._n_calls or GATE._n_loads) or GATE._is_alone)

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

    def get_providers(self) -> list[str]:
        return self._named

    def get_provider_graph_assignment_info(self) -> Any:
        if self._engine is not None:
            nodes = [
                node for part in super().get_provider_graph_assignment_info() for node in part.get_nodes()
            ]
            return [SimpleNamespace(ep_name=TENSORRT, get_nodes=lambda: nodes)]
        placed: dict[str, list[Any]] = {CUDA: [], CPU: []}
        for part in super().get_provider_graph_assignment_info():
            for node in part.get_nodes():
                placed[CPU if node.op_type in self._on_cpu else CUDA].append(node)
        return [SimpleNamespace(ep_name=name, get_nodes=lambda n=nodes: n) for name, nodes in placed.items()]

    def run(self, output_names: Any, input_feed: Any, run_options: Any = None) -> Any:
        if self._captures:
            assert run_options.get_run_config_entry("gpu_graph_id") == "-1", "it would be captured"
        assert self._engine is None, "its batches are bound"
        with self._busy():
            (rows,) = super().run(output_names, input_feed, run_options)
        return [-rows if self._turned else rows]

    def run_with_iobinding(self, iobinding: Any, run_options: Any = None) -> None:
        is_replay = False
        if self._captures:
            iobinding, is_replay = self._captured(iobinding, run_options)
        if not (is_replay and iobinding.bound_shape in self.cuda.stale_shapes):
            with self._busy():
                super().run_with_iobinding(iobinding, run_options)
        (rows,) = iobinding.get_outputs()
        if self._engine is not None:
            self._engine.require(iobinding.bound_shape)
        is_wrong = is_replay and (self.cuda.wrong_replays or iobinding.bound_shape in self.cuda.wrong_shapes)
        if is_wrong or self._turned or (self._engine is not None and self._engine.is_wrong):
            np.negative(rows.numpy(), out=rows.numpy())

    def release_captured_graph(self, graph_annotation_id: int = 0) -> None:
        self.cuda.released.append(graph_annotation_id)

    def _captured(self, iobinding: Any, run_options: Any) -> tuple[Any, bool]:
        """What a run computes with, and whether it is a replay. The first run in a thread captures."""
        number = run_options.get_run_config_entry("gpu_graph_id")
        assert number not in {"", "0", "-1"}, "0 is onnxruntime's own"
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
        self.cuda.captured.append(key)
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

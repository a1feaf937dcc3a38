"""A fake of onnxruntime on a machine with a GPU. The CPU computes; arguments pass through the real classes.

    cuda = FakeCuda().install(monkeypatch)      # a GPU that works
    cuda.fails_with = RuntimeError("...")       # one that does not

Sessions are real ones that report CUDA or TensorRT as their provider. TensorRT writes an engine into its
cache where there is none, takes the shapes of its profile alone, and computes ArgMax over integers wrongly.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto
from onnx.external_data_helper import load_external_data_for_model

from diptych.adapters.onnxruntime import tensorrt_provider
from diptych.adapters.onnxruntime.cuda_provider import require_cuda
from diptych.errors import ConfigError
from support.fake_cuda_bindings import FakeGpu
from support.largest_id import has_integer_argmax

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
ENGINE = "TensorrtExecutionProvider_TRTKernel_graph_sm90.engine"
CARD = "A card"
# Of the provider: what its parser takes, and of those that are closed, which values.
KNOWN_OPTIONS = {
    "device_id", "gpu_mem_limit", "arena_extend_strategy", "cudnn_conv_algo_search",
    "cudnn_conv_use_max_workspace", "do_copy_in_default_stream", "use_tf32", "enable_cuda_graph",
    "user_compute_stream", "prefer_nhwc", "cudnn_conv1d_pad_to_nc1d", "use_ep_level_unified_stream",
}  # fmt: skip
KNOWN_TENSORRT_OPTIONS = {
    "device_id", "trt_max_workspace_size", "trt_engine_cache_enable", "trt_engine_cache_path",
    "trt_timing_cache_enable", "trt_timing_cache_path", "trt_profile_min_shapes", "trt_profile_opt_shapes",
    "trt_profile_max_shapes", "trt_dump_ep_context_model", "trt_ep_context_file_path",
    "trt_ep_context_embed_mode",
}  # fmt: skip
KNOWN_VALUES = {
    "arena_extend_strategy": {"kNextPowerOfTwo", "kSameAsRequested"},
    "cudnn_conv_algo_search": {"EXHAUSTIVE", "HEURISTIC", "DEFAULT"},
}


@dataclass
class FakeCuda:
    """The properties of the machine, and a record of calls. Attributes may be changed at any time."""

    is_offered: bool = True  # by the build of onnxruntime
    falls_back: bool = False  # with a mere warning, as it does where a library is missing
    fails_with: Exception | None = None  # raised when a session is made on the GPU
    run_fails_with: Exception | None = None  # raised by each run on the GPU
    wrong_precisions: tuple[str, ...] = ()  # parts of names of files whose rows come out turned round
    cpu_operators: tuple[str, ...] = ()  # that it has no kernel for, beside ArgMax over integers
    gpu: FakeGpu = field(default_factory=lambda: FakeGpu(CARD))
    options: list[dict[str, Any]] = field(default_factory=list)  # of each session on the GPU
    ran: list[tuple[int, ...]] = field(default_factory=list)  # shapes of batches that ran on the GPU
    n_freed: int = 0  # sessions
    tensorrt: str = "10.16.2"  # the release that is installed; empty: none
    tensorrt_options: list[dict[str, Any]] = field(default_factory=list)  # of each session on TensorRT
    tensorrt_fails_with: Exception | None = None  # raised when a session is made on TensorRT
    n_built: int = 0  # engines
    keeps_engines: bool = True
    takes_whole_graphs: bool = True  # else no compiled model is written
    turns_compiled: bool = False  # rows of compiled models
    turns_from: int = 0  # TensorRT turns the rows of batches of that many items and more; 0: of none

    def install(self, monkeypatch: pytest.MonkeyPatch) -> "FakeCuda":
        """Install it for the rest of the test, with the driver of its GPU."""
        fake = self

        class Session(_Session):
            cuda: ClassVar = fake

        def require_tensorrt() -> str:
            require_cuda()
            if not fake.tensorrt:
                raise ConfigError(
                    "libnvinfer.so.10: cannot open shared object file: install server[tensorrt]"
                )
            return fake.tensorrt

        monkeypatch.setattr(tensorrt_provider, "require_tensorrt", require_tensorrt)
        self.gpu.install(monkeypatch)
        monkeypatch.setattr(ort, "InferenceSession", Session)
        monkeypatch.setattr(
            ort, "get_available_providers", lambda: [TENSORRT, CUDA, CPU] if self.is_offered else [CPU]
        )
        monkeypatch.setattr(ort, "preload_dlls", lambda: None)
        return self


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
        self._turned = False
        self._on_cpu = {*self.cuda.cpu_operators}
        self._profile: tuple[Any, Any] | None = None
        if names[0] == TENSORRT:
            self._ask_for_tensorrt(path_or_bytes, providers[0][1], sess_options)
            assert names[1] == CUDA, "CUDA takes what TensorRT does not"
        elif names[0] == CUDA:
            self._ask_for_gpu(str(path_or_bytes) if isinstance(path_or_bytes, str) else "", providers[0])
            if has_integer_argmax(path_or_bytes):
                self._on_cpu.add("ArgMax")
        self._named = [CPU] if self.cuda.falls_back else names
        super().__init__(path_or_bytes, sess_options, [CPU], provider_options, **kwargs)
        assert not self._enable_fallback, "it would go on with the CPU when a batch fails"

    def __del__(self) -> None:
        self.cuda.n_freed += getattr(self, "_named", [CPU])[0] != CPU

    def _ask_for_gpu(self, file: str, provider: tuple[str, dict[str, Any]]) -> None:
        _, options = provider
        assert options.keys() <= KNOWN_OPTIONS
        for name, values in KNOWN_VALUES.items():
            assert options.get(name, next(iter(values))) in values
        if self.cuda.fails_with is not None:
            raise self.cuda.fails_with
        self.cuda.options.append(options)
        self._turned = any(part in file for part in self.cuda.wrong_precisions)

    def _ask_for_tensorrt(self, graph: str | bytes, options: dict[str, Any], sess_options: Any) -> None:
        assert options.keys() <= KNOWN_TENSORRT_OPTIONS
        if isinstance(graph, str):  # one that was compiled
            self._turned = self.cuda.turns_compiled
            return
        assert os.environ["NVIDIA_TF32_OVERRIDE"] == "0"
        if refused_by_parser := refused(onnx.load_from_string(graph)):
            raise RuntimeError(refused_by_parser)
        if self.cuda.tensorrt_fails_with is not None:
            raise self.cuda.tensorrt_fails_with
        self.cuda.tensorrt_options.append(options)
        self._turned = has_integer_argmax(graph)
        if options.get("trt_dump_ep_context_model") is True and self.cuda.takes_whole_graphs:
            assert options["trt_ep_context_embed_mode"] == 1
            model = onnx.load_from_string(graph)
            if weights := sess_options.get_session_config_entry(WEIGHTS_FOLDER):
                load_external_data_for_model(model, weights)
            Path(options["trt_ep_context_file_path"]).write_bytes(model.SerializeToString())
        least, largest = (_shape(options[f"trt_profile_{which}_shapes"]) for which in ("min", "max"))
        self._profile = least, largest
        if not self.cuda.keeps_engines or options.get("trt_engine_cache_enable") is not True:
            return
        engine = Path(options["trt_engine_cache_path"]) / ENGINE
        if not engine.exists():
            engine.parent.mkdir(exist_ok=True)
            engine.write_bytes(b"an engine")
            self.cuda.n_built += 1

    def get_providers(self) -> list[str]:
        return self._named

    def get_provider_graph_assignment_info(self) -> Any:
        gpu = self._named[0] if self._named[0] != CPU else CUDA
        placed: dict[str, list[Any]] = {gpu: [], CPU: []}
        for part in super().get_provider_graph_assignment_info():
            for node in part.get_nodes():
                name = CPU if node.op_type in self._on_cpu else gpu
                placed[name].append(SimpleNamespace(op_type=node.op_type))
        return [SimpleNamespace(ep_name=name, get_nodes=lambda n=nodes: n) for name, nodes in placed.items()]

    def run(self, output_names: Any, input_feed: Any, run_options: Any = None) -> Any:
        if self._named[0] != CPU:
            if self.cuda.run_fails_with is not None:
                raise self.cuda.run_fails_with
            self.cuda.ran += [batch.shape for batch in input_feed.values()]
        turned = self._turned
        if self._profile is not None:
            (shape,) = (batch.shape for batch in input_feed.values())
            turned = turned or 0 < self.cuda.turns_from <= shape[0]
            if not all(
                low <= n <= high
                for low, n, high in zip(self._profile[0], shape, self._profile[1], strict=True)
            ):
                raise RuntimeError(f"{shape} is outside of the profile {self._profile}")
        (rows,) = super().run(output_names, input_feed, run_options)
        return [-rows if turned else rows]


def refused(model: onnx.ModelProto) -> str:
    """The first operator that TensorRT's parser of ONNX does not take, in its words; empty for none."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    ports = (*inferred.input, *inferred.value_info)
    bytes_ = {port.name for port in ports if port.type.tensor_type.elem_type == TensorProto.UINT8}
    for node in inferred.node:
        if node.op_type != "Cast" and bytes_ & set(node.input):
            return f"{node.op_type} {node.name!r}: all UINT8 inputs must directly feed into a cast layer"
    return ""


def _shape(profile: str) -> tuple[int, ...]:
    """`pixels:1x8x8x3` -> (1, 8, 8, 3)."""
    return tuple(map(int, profile.partition(":")[2].split("x")))

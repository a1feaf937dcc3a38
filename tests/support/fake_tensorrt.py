"""TensorRT's provider of onnxruntime: what it takes, keeps on the disk, refuses and gets wrong."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from support.largest_id import has_integer_argmax
from support.tensorrt_parser import refused

TENSORRT = "TensorrtExecutionProvider"
# What the parser of release 1.31 takes.
KNOWN_OPTIONS = {
    "device_id", "trt_auxiliary_streams", "trt_bf16_enable", "trt_build_heuristics_enable",
    "trt_builder_optimization_level", "trt_context_memory_sharing_enable", "trt_cuda_graph_enable",
    "trt_detailed_build_log", "trt_dla_core", "trt_dla_enable", "trt_dump_ep_context_model",
    "trt_dump_subgraphs", "trt_engine_cache_enable", "trt_engine_cache_path", "trt_engine_cache_prefix",
    "trt_engine_hw_compatible", "trt_ep_context_embed_mode", "trt_ep_context_file_path",
    "trt_extra_plugin_lib_paths", "trt_force_sequential_engine_build", "trt_force_timing_cache",
    "trt_fp16_enable", "trt_int8_enable", "trt_layer_norm_fp32_fallback", "trt_max_partition_iterations",
    "trt_max_workspace_size", "trt_min_subgraph_size", "trt_op_types_to_exclude", "trt_preview_features",
    "trt_profile_max_shapes", "trt_profile_min_shapes", "trt_profile_opt_shapes", "trt_sparsity_enable",
    "trt_tactic_sources", "trt_timing_cache_enable", "trt_timing_cache_path",
    "trt_weight_stripped_engine_enable", "user_compute_stream", "has_user_compute_stream",
}  # fmt: skip
# Of its switches the binding for Python takes these spellings of their values: "1" is an error.
SWITCHED = {"True", "true", "False", "false"}
PROFILE = ("trt_profile_min_shapes", "trt_profile_opt_shapes", "trt_profile_max_shapes")


@dataclass
class FakeTensorRt:
    """What it was asked for, and what it does wrong."""

    fails_with: str = ""  # when an engine is built
    n_built: int = 0
    n_loaded: int = 0  # engines that were found on the disk
    on_found: Callable[[], None] = lambda: None  # called as one is loaded
    timings: list[bytes] = field(default_factory=list)  # that each build began with
    wrong_engines: tuple[str, ...] = ()  # parts of names of towers whose rows come out wrong
    shapes: list[tuple[int, ...]] = field(default_factory=list)  # that ran


class Engine:
    """One engine, found or built as a session with explicit profiles is made."""

    def __init__(self, tensorrt: FakeTensorRt, graph: str | bytes, options: dict[str, Any]) -> None:
        assert options.keys() <= KNOWN_OPTIONS
        require_switches(options)
        self._tensorrt = tensorrt
        self.smallest, self.best, self.largest = (_shape(options[name]) for name in PROFILE)
        assert all(a <= b <= c for a, b, c in zip(self.smallest, self.best, self.largest, strict=True))
        # As it has read all texts of CLIP at a wrong place.
        self.is_wrong = has_integer_argmax(graph) or any(
            part in options["trt_engine_cache_prefix"] for part in tensorrt.wrong_engines
        )
        model = onnx.load_from_string(graph) if isinstance(graph, bytes) else onnx.load(graph)
        # The real one leaves such operators to CUDA, and its engine has another input than its profile names.
        if refusal := refused(model):
            raise RuntimeError(f"TensorRT EP: no profile of an input of the engine: {refusal}")
        if options["trt_engine_cache_enable"]:
            self._find_or_build(Path(options["trt_engine_cache_path"]), options)

    def require(self, shape: tuple[int, ...]) -> None:
        """As an engine does, which runs what its profile allows and nothing else."""
        if not all(a <= n <= c for a, n, c in zip(self.smallest, shape, self.largest, strict=True)):
            raise RuntimeError(f"TensorRT EP cannot set the dynamic dimensions of a binding: {shape}")
        self._tensorrt.shapes.append(shape)

    def _find_or_build(self, folder: Path, options: dict[str, Any]) -> None:
        name = f"{options['trt_engine_cache_prefix']}_0_0_sm90"
        engine, profile = folder / f"{name}.engine", folder / f"{name}.profile"
        shapes = json.dumps([options[part] for part in PROFILE])
        if engine.exists() and profile.exists() and profile.read_text() == shapes:
            if engine.read_bytes() != b"an engine":
                raise RuntimeError("TensorRT EP could not deserialize engine from cache")
            self._tensorrt.n_loaded += 1
            self._tensorrt.on_found()
            return
        if self._tensorrt.fails_with:
            raise RuntimeError(self._tensorrt.fails_with)
        timing = folder / "TensorrtExecutionProvider_cache_sm90.timing"
        self._tensorrt.timings.append(timing.read_bytes() if timing.exists() else b"")
        profile.write_text(shapes)
        engine.write_bytes(b"an engine")
        timing.write_bytes(b"times")
        self._tensorrt.n_built += 1


def require_switches(options: dict[str, Any]) -> None:
    """As the binding does, which is given the words of all values."""
    for name, value in options.items():
        assert isinstance(value, int | str)
        if name.endswith("_enable") and str(value) not in SWITCHED:
            raise RuntimeError(f"The value for the key '{name}' should be 'True' or 'False', it is {value}")


def _shape(spelled: str) -> tuple[int, ...]:
    _, _, sizes = spelled.partition(":")
    return tuple(map(int, sizes.split("x")))

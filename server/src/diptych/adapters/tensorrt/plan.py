"""Builds one TensorRT plan from one ONNX graph.

The network is strongly typed: each value has the type that the graph states, and the fp16 graphs of a version
keep norms, softmax, pooling and the last normalisation in float32. The alternative, a float32 network with
flags and layer constraints, is deprecated since TensorRT 10.12 and removed in 11, and lets timings choose the
types. Written against the documentation of both releases; not yet run on a GPU.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diptych.adapters.tensorrt.library import load_tensorrt, take_error, tensorrt_log
from diptych.bundle.tensorrt_build import Profile
from diptych.errors import BundleError, ConfigError

NO_REASON = "no reason given"

Shape = tuple[int, ...]


def build_plan(
    graph: Path,
    target: Path,
    profiles: Sequence[Profile],
    *,
    workspace_bytes: int | None = None,
) -> None:
    """Build a plan and write it to `target`.

    `workspace_bytes` limits the GPU memory that kernels may use as workspace; None allows all free memory.
    Raises BundleError with TensorRT's message; ConfigError if TensorRT or the package onnx is not installed.
    """
    tensorrt = load_tensorrt()
    builder = tensorrt.Builder(tensorrt_log())
    # TensorRT 11 has no other networks, and accepts the flag all the same.
    strongly_typed = 1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(strongly_typed)
    parser = tensorrt.OnnxParser(network, tensorrt_log())
    if not parser.parse(graph_for_tensorrt(graph), str(graph)):  # the path locates external weights
        errors = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
        raise BundleError(f"TensorRT cannot read {graph.name}: {errors or take_error(NO_REASON)}")
    config = builder.create_builder_config()
    # TF32 products have 10 bits of mantissa: what the graph keeps in float32 must be exact.
    config.clear_flag(tensorrt.BuilderFlag.TF32)
    if workspace_bytes is not None:
        config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, workspace_bytes)
    port = network.get_input(0)
    for profile in profiles:
        _add_profile(builder, config, port.name, tuple(port.shape), profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BundleError(f"TensorRT cannot build a plan of {graph.name}: {take_error(NO_REASON)}")
    target.write_bytes(plan)


def graph_for_tensorrt(graph: Path) -> bytes:
    """The graph rewritten for TensorRT's parser.

    Raises BundleError naming what cannot be rewritten; ConfigError.
    """
    try:
        from diptych.adapters.onnxruntime import gpu_graph_rewrites  # noqa: PLC0415 - a server that only runs plans lacks onnx
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise ConfigError(
            "the package onnx, which rewrites graphs, is missing: install server[gpu]"
        ) from error
    return gpu_graph_rewrites.graph_for_tensorrt(graph)


def profile_shapes(sizes: Sequence[int], profile: Profile) -> tuple[Shape, Shape, Shape]:
    """The smallest, usual and largest shape of an input whose free axes (batch, then length) are -1."""
    extents = [profile.batch, *([] if profile.length is None else [profile.length])]
    n_free = sum(size < 0 for size in sizes)
    if n_free > len(extents):
        raise BundleError(
            f"an input of shape {list(sizes)} has {n_free} free axes, the profile {len(extents)}"
        )

    def filled(which: str) -> Shape:
        free = iter(extents)
        return tuple(getattr(next(free), which) if size < 0 else size for size in sizes)

    return filled("min"), filled("opt"), filled("max")


def _add_profile(builder: Any, config: Any, name: str, sizes: Sequence[int], profile: Profile) -> None:
    made = builder.create_optimization_profile()
    made.set_shape(name, *profile_shapes(sizes, profile))
    if config.add_optimization_profile(made) < 0:
        raise BundleError(f"TensorRT rejected the profile {profile}: {take_error(NO_REASON)}")

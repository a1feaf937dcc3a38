"""Have TensorRT build one plan from one ONNX graph. Knows nothing of versions, towers or proofs.

The network is strongly typed: each value has the type that the graph gives it, and the fp16 graphs of a
version keep norms, softmax, pooling and the last normalisation in float32. The other way, a float32 network
with flags and layer constraints, is deprecated since TensorRT 10.12 and gone in 11, and leaves the choice of
types to timings. Written against the documentation of both, not yet run on a GPU.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diptych.adapters.tensorrt.library import load_tensorrt, take_error, tensorrt_log
from diptych.bundle.tensorrt_build import Profile
from diptych.errors import BundleError, ConfigError

UNSAID = "no reason is given"

Shape = tuple[int, ...]


def build_plan(
    graph: Path,
    target: Path,
    profiles: Sequence[Profile],
    *,
    workspace_bytes: int | None = None,
) -> None:
    """Raises BundleError with what TensorRT says, ConfigError where it or the package onnx is not here.

    `workspace_bytes` of the GPU is what kernels get to work in; all that is free when None.
    """
    tensorrt = load_tensorrt()
    builder = tensorrt.Builder(tensorrt_log())
    # 11 knows no other networks, and takes the flag all the same.
    strongly_typed = 1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(strongly_typed)
    parser = tensorrt.OnnxParser(network, tensorrt_log())
    if not parser.parse(graph_for_tensorrt(graph), str(graph)):  # the path is that of weights beside it
        said = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
        raise BundleError(f"TensorRT cannot read {graph.name}: {said or take_error(UNSAID)}")
    config = builder.create_builder_config()
    # Products of 10 bits are no float32: what the graph keeps in float32 shall be exact.
    config.clear_flag(tensorrt.BuilderFlag.TF32)
    if workspace_bytes is not None:
        config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, workspace_bytes)
    port = network.get_input(0)
    for profile in profiles:
        _add_profile(builder, config, port.name, tuple(port.shape), profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BundleError(f"TensorRT builds no plan of {graph.name}: {take_error(UNSAID)}")
    target.write_bytes(plan)


def graph_for_tensorrt(graph: Path) -> bytes:
    """What its parser reads. Raises BundleError naming what cannot be rewritten, ConfigError."""
    try:
        from diptych.adapters.onnxruntime import gpu_graph_rewrites  # noqa: PLC0415 - a server that only runs plans lacks onnx
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise ConfigError(
            "the package onnx, which rewrites graphs, is missing: server[gpu] has it"
        ) from error
    return gpu_graph_rewrites.graph_for_tensorrt(graph)


def profile_shapes(sizes: Sequence[int], profile: Profile) -> tuple[Shape, Shape, Shape]:
    """The least, the usual and the largest shape of an input whose free axes are -1: batch, then length."""
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
        raise BundleError(f"TensorRT does not take the profile {profile}: {take_error(UNSAID)}")

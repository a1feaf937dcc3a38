"""Have TensorRT build one plan from one ONNX graph. Knows nothing of versions, towers or proofs.

The network is strongly typed: each value has the type that the graph gives it, and the fp16 graphs of a
version keep norms, softmax, pooling and the last normalisation in float32. The other way, a float32 network
with flags and layer constraints, is deprecated since TensorRT 10.12 and gone in 11, and leaves the choice of
types to timings. Written against the documentation of both, not yet run on a GPU.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from diptych.adapters.tensorrt_library import load_tensorrt, take_error, tensorrt_log
from diptych.bundle.tensorrt import Profile
from diptych_training.errors import ExportError
from diptych_training.plans.request import PlanRequest

UNSAID = "no reason is given"

Shape = tuple[int, ...]


def build_plan(graph: Path, target: Path, profiles: Sequence[Profile], request: PlanRequest) -> None:
    """Raises ExportError with what TensorRT says, ConfigError where it is not here."""
    tensorrt = load_tensorrt()
    builder = tensorrt.Builder(tensorrt_log())
    # 11 knows no other networks, and takes the flag all the same.
    strongly_typed = 1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(strongly_typed)
    parser = tensorrt.OnnxParser(network, tensorrt_log())
    if not parser.parse_from_file(str(graph)):
        said = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
        raise ExportError(f"TensorRT cannot read {graph.name}: {said or take_error(UNSAID)}")
    config = _config(tensorrt, builder, request)
    name, shape = _input(graph)
    for profile in profiles:
        _add_profile(builder, config, name, shape, profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ExportError(f"TensorRT builds no plan of {graph.name}: {take_error(UNSAID)}")
    target.write_bytes(plan)


def profile_shapes(shape: Sequence[int | None], profile: Profile) -> tuple[Shape, Shape, Shape]:
    """The least, the usual and the largest shape of an input whose free axes are None: batch, then length."""
    extents = [profile.batch, *([] if profile.length is None else [profile.length])]
    n_free = sum(size is None for size in shape)
    if n_free > len(extents):
        raise ExportError(
            f"an input of shape {list(shape)} has {n_free} free axes, the profile {len(extents)}"
        )

    def filled(which: str) -> Shape:
        sizes = iter(extents)
        return tuple(getattr(next(sizes), which) if size is None else size for size in shape)

    return filled("min"), filled("opt"), filled("max")


def _config(tensorrt: Any, builder: Any, request: PlanRequest) -> Any:
    config = builder.create_builder_config()
    # Products of 10 bits are no float32: what the graph keeps in float32 shall be exact.
    config.clear_flag(tensorrt.BuilderFlag.TF32)
    config.builder_optimization_level = request.optimization_level
    if request.workspace_bytes is not None:
        config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, request.workspace_bytes)
    return config


def _add_profile(builder: Any, config: Any, name: str, shape: Sequence[int | None], profile: Profile) -> None:
    made = builder.create_optimization_profile()
    made.set_shape(name, *profile_shapes(shape, profile))
    if config.add_optimization_profile(made) < 0:
        raise ExportError(f"TensorRT does not take the profile {profile}: {take_error(UNSAID)}")


def _input(graph: Path) -> tuple[str, list[int | None]]:
    """Its name and its sizes, None for free ones."""
    (port,) = onnx.load(graph, load_external_data=False).graph.input
    sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in port.type.tensor_type.shape.dim]
    return port.name, sizes

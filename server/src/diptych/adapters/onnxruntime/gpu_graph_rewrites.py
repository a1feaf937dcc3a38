"""Rewrite a graph for what shall run it on a GPU, in memory. Knows no sessions and no towers.

Files of a version stay as they were published: what a GPU's library cannot read is said otherwise here.
CLIP's text tower is read at its first largest token id, by ArgMax over integers: onnxruntime's CUDA has none,
so that the CPU computes it and nothing can be captured, and TensorRT computes it by its TopK layer, which may
round ids to float16 or take another one among equal ids: all texts are alike then.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, inliner, numpy_helper

from diptych.errors import BundleError

OLDEST_OPSET = 18  # since when reductions take their axes as an input, and Shape gives one size of several
CHOICES = frozenset({"ArgMax", "ArgMin", "TopK"})
INTEGERS = frozenset({TensorProto.INT64, TensorProto.INT32, TensorProto.INT8, TensorProto.UINT8})
MAX_LENGTH = 1 << 14  # of a row that is searched
APART = float(1 << 20)  # from one id to the next: more than MAX_LENGTH, and ids below 2^32 stay exact
FAR = float(1 << 24)  # past every position; in float32 all ids below it are exact
# They hand on what they read, value by value, in whatever type it has; or read its shape.
MOVES = frozenset({"Reshape", "Transpose", "Identity", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Split"})
MEASURES = frozenset({"Shape", "Size"})

Spell = Callable[[NodeProto, str], list[NodeProto]]  # an ArgMax, a prefix for names -> what takes its place


def graph_for_cuda(file: Path) -> str | bytes:
    """What a session of onnxruntime's CUDA provider is made of: the file, or its rewrite.

    Weights in a file of their own stay there.
    """
    model = onnx.load(file, load_external_data=False)
    return bytes(model.SerializeToString()) if rank_ids_in_floats(model) else str(file)


def graph_for_tensorrt(file: Path) -> bytes:
    """What TensorRT's parser reads. Raises BundleError with the file and what cannot be rewritten."""
    model = onnx.load(file, load_external_data=False)
    if model.functions:
        model = inliner.inline_local_functions(model)
    try:
        replace_integer_argmax(model)
        cast_bytes_first(model)
    except BundleError as error:
        raise BundleError(f"{file.name}: {error}") from error
    return bytes(model.SerializeToString())


def rank_ids_in_floats(model: ModelProto) -> int:
    """Have ArgMax over integers search unequal floats, whose largest is at the same place; how many.

    Among equal numbers nothing promises the first on a GPU, so that none are: float64 `id * 2^20 - position`.
    All operators are of versions that CUDA has kernels for. Others than along the last of two axes stay.
    """

    def spelled(node: NodeProto, name: str) -> list[NodeProto]:
        ids, search = node.input[0], onnx.NodeProto.FromString(node.SerializeToString())
        search.input[0] = f"{name}ranked"
        return [
            helper.make_node("Cast", [ids], [f"{name}ids"], to=TensorProto.DOUBLE),
            helper.make_node("Mul", [f"{name}ids", "place_apart"], [f"{name}spread"]),
            *_places(ids, name),
            helper.make_node("Sub", [f"{name}spread", f"{name}places"], [search.input[0]]),
            search,
        ]

    constants = {"place_apart": np.array(APART), "place_all": np.arange(MAX_LENGTH, dtype=np.float64)}
    return _replace_argmax(model, spelled, constants)


def replace_integer_argmax(model: ModelProto) -> int:
    """Have the graph do without ArgMax over integers; how many there were.

    In float32, by operations whose result leaves no choice: the least position at which the id is the
    largest. Raises BundleError naming a choice among integers that cannot be replaced.
    """

    def spelled(node: NodeProto, name: str) -> list[NodeProto]:
        ids, (keepdims, _, _) = node.input[0], _attributes(node)
        found = f"{name}found"
        return [
            helper.make_node("Cast", [ids], [f"{name}ids"], to=TensorProto.FLOAT),  # (B, L)
            helper.make_node("ReduceMax", [f"{name}ids", "place_axis"], [f"{name}largest"], keepdims=1),
            helper.make_node("Equal", [f"{name}ids", f"{name}largest"], [f"{name}is_largest"]),
            *_places(ids, name),
            helper.make_node("Where", [f"{name}is_largest", f"{name}places", "place_far"], [found]),
            helper.make_node("ReduceMin", [found, "place_axis"], [f"{name}first"], keepdims=keepdims),
            helper.make_node("Cast", [f"{name}first"], [node.output[0]], to=TensorProto.INT64),
        ]

    constants = {
        "place_axis": np.array([-1]),
        "place_far": np.array(FAR, np.float32),
        "place_all": np.arange(MAX_LENGTH, dtype=np.float32),
    }
    n_replaced = _replace_argmax(model, spelled, constants)
    types = _tensor_types(model) if any(node.op_type in CHOICES for node in model.graph.node) else {}
    for node in model.graph.node:
        if node.op_type in CHOICES and (kind := types.get(node.input[0])) and kind.elem_type in INTEGERS:
            raise BundleError(
                f"TensorRT may compute {node.op_type} {node.name!r} over integers wrongly; replaced is an "
                "ArgMax that takes the first of the largest along the last of two axes, in opset "
                f"{OLDEST_OPSET} or later"
            )
    return n_replaced


def cast_bytes_first(model: ModelProto) -> int:
    """Have what reads bytes read them as float32; how many operators read them as they came.

    TensorRT takes uint8 as an input of a network, and lets nothing but Cast read it: no Reshape or Transpose,
    and no Shape. All of 0 to 255 are exact in float32, and in float16, to which a later Cast may go on.
    Raises BundleError naming an operator that computes with bytes.
    """
    graph = model.graph
    ports = [port.name for port in graph.input if port.type.tensor_type.elem_type == TensorProto.UINT8]
    floats = {name: f"{name}_as_floats" for name in ports}
    moved: set[str] = set()  # values that were bytes and are floats now, under their names
    n_changed = 0
    for node in graph.node:
        read = [name for name in node.input if name in floats or name in moved]
        if not read or node.op_type == "Cast":
            continue
        if node.op_type not in MOVES | MEASURES or read != [node.input[0]]:
            raise BundleError(
                f"{node.op_type} {node.name!r} computes with the bytes {', '.join(read)}: TensorRT reads "
                f"bytes by Cast alone, and replaced are {', '.join(sorted(MOVES | MEASURES))}"
            )
        n_changed += 1
        node.input[0] = floats.get(read[0], read[0])
        if node.op_type in MOVES:
            moved.update(node.output)
    if n_changed:
        casts = [helper.make_node("Cast", [one], [new], to=TensorProto.FLOAT) for one, new in floats.items()]
        _set(graph.node, [*casts, *graph.node])
        _set(graph.value_info, [port for port in graph.value_info if port.name not in moved])
    return n_changed


def _replace_argmax(model: ModelProto, spelled: Spell, constants: dict[str, Any]) -> int:
    """Of those that take the first largest integer of each row of a table; how many there were."""
    opset = next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 0)
    if opset < OLDEST_OPSET or not any(node.op_type == "ArgMax" for node in model.graph.node):
        return 0
    types = _tensor_types(model)
    nodes: list[NodeProto] = []
    n_replaced = 0
    for node in model.graph.node:
        kind = types.get(node.input[0]) if node.op_type == "ArgMax" else None
        if kind is None or not _is_along_rows(node, kind):
            nodes.append(node)
            continue
        nodes += spelled(node, f"place_{n_replaced}_")
        n_replaced += 1
    if n_replaced:
        _set(model.graph.node, nodes)
        start = {"place_start": np.array([0])}
        model.graph.initializer.extend(
            numpy_helper.from_array(np.asarray(value), name) for name, value in (start | constants).items()
        )
    return n_replaced


def _places(ids: str, name: str) -> list[NodeProto]:
    """0, 1, 2 ... for each of the ids of a row, as floats (L,)."""
    return [
        helper.make_node("Shape", [ids], [f"{name}length"], start=1, end=2),
        helper.make_node(
            "Slice", ["place_all", "place_start", f"{name}length", "place_start"], [f"{name}places"]
        ),
    ]


def _is_along_rows(node: NodeProto, kind: "onnx.TypeProto.Tensor") -> bool:
    _, axis, is_last = _attributes(node)
    return kind.elem_type in INTEGERS and len(kind.shape.dim) == 2 and axis in (-1, 1) and not is_last


def _attributes(node: NodeProto) -> tuple[int, int, int]:
    """keepdims, axis, select_last_index."""
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return given.get("keepdims", 1), given.get("axis", 0), given.get("select_last_index", 0)


def _tensor_types(model: ModelProto) -> "dict[str, onnx.TypeProto.Tensor]":
    graph = onnx.shape_inference.infer_shapes(model).graph
    return {port.name: port.type.tensor_type for port in (*graph.input, *graph.value_info)}


def _set(field: Any, values: list[Any]) -> None:
    """Of a repeated field, some of whose values are among the new ones."""
    kept = [type(value).FromString(value.SerializeToString()) for value in values]
    del field[:]
    field.extend(kept)

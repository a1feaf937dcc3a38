"""Rewrites ONNX graphs in memory for GPU libraries that lack some of their operators.

The files of a version stay as they were published. CLIP pools its text tower at the first largest token id,
by ArgMax over integers. onnxruntime's CUDA provider has no kernel for it, so that the CPU computes it and
nothing can be captured. TensorRT computes it by its TopK layer, which may round ids to float16 or choose
another one of equal ids, after which all texts have the same embedding.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, inliner, numpy_helper

from diptych.errors import BundleError

OLDEST_OPSET = 18  # since then reductions take their axes as an input, and Shape can return a single size
SELECTIONS = frozenset({"ArgMax", "ArgMin", "TopK"})
INTEGERS = frozenset({TensorProto.INT64, TensorProto.INT32, TensorProto.INT8, TensorProto.UINT8})
MAX_LENGTH = 1 << 14  # of a row that ArgMax searches
# distance from one id to the next: more than MAX_LENGTH, and ids below 2^32 stay exact
POSITION_SCALE = float(1 << 20)
BEYOND = float(1 << 24)  # above every position; in float32 all ids below it are exact
# Operators that pass values on unchanged in any type, and operators that read the shape only.
PASSES_ON = frozenset(
    {"Reshape", "Transpose", "Identity", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Split"}
)
READS_SHAPE = frozenset({"Shape", "Size"})

Rewrite = Callable[[NodeProto, str], list[NodeProto]]  # (an ArgMax, a prefix for names) -> its replacement


def graph_for_cuda(file: Path) -> str | bytes:
    """The graph for onnxruntime's CUDA provider: the path of the file, or the bytes of its rewrite.

    External weights stay in their file.
    """
    model = onnx.load(file, load_external_data=False)
    return bytes(model.SerializeToString()) if replace_argmax_by_float_argmax(model) else str(file)


def graph_for_tensorrt(file: Path) -> bytes:
    """The graph for TensorRT's parser. Raises BundleError naming the file and what cannot be rewritten."""
    model = onnx.load(file, load_external_data=False)
    if model.functions:
        model = inliner.inline_local_functions(model)
    try:
        replace_argmax_by_reductions(model)
        cast_uint8_inputs(model)
    except BundleError as error:
        raise BundleError(f"{file.name}: {error}") from error
    return bytes(model.SerializeToString())


def replace_argmax_by_float_argmax(model: ModelProto) -> int:
    """Replace ArgMax over integers by ArgMax over distinct floats with the same maximum; return how many.

    On a GPU nothing guarantees the first of equal numbers, so the numbers are made distinct: float64 `id *
    2^20 - position`. CUDA has kernels for all operators used. Only ArgMax along the last of two axes is
    replaced.
    """

    def rewrite(node: NodeProto, name: str) -> list[NodeProto]:
        ids, search = node.input[0], onnx.NodeProto.FromString(node.SerializeToString())
        search.input[0] = f"{name}ranked"
        return [
            helper.make_node("Cast", [ids], [f"{name}ids"], to=TensorProto.DOUBLE),
            helper.make_node("Mul", [f"{name}ids", "position_scale"], [f"{name}spread"]),
            *_positions(ids, name),
            helper.make_node("Sub", [f"{name}spread", f"{name}positions"], [search.input[0]]),
            search,
        ]

    constants = {
        "position_scale": np.array(POSITION_SCALE),
        "position_all": np.arange(MAX_LENGTH, dtype=np.float64),
    }
    return _replace_argmax(model, rewrite, constants)


def replace_argmax_by_reductions(model: ModelProto) -> int:
    """Replace ArgMax over integers by float32 operations with an unambiguous result; return how many.

    The result is the lowest position at which the id is the largest. Raises BundleError naming an ArgMax,
    ArgMin or TopK over integers that cannot be replaced.
    """

    def rewrite(node: NodeProto, name: str) -> list[NodeProto]:
        ids, (keepdims, _, _) = node.input[0], _attributes(node)
        found = f"{name}found"
        return [
            helper.make_node("Cast", [ids], [f"{name}ids"], to=TensorProto.FLOAT),  # (B, L)
            helper.make_node("ReduceMax", [f"{name}ids", "position_axis"], [f"{name}largest"], keepdims=1),
            helper.make_node("Equal", [f"{name}ids", f"{name}largest"], [f"{name}is_largest"]),
            *_positions(ids, name),
            helper.make_node("Where", [f"{name}is_largest", f"{name}positions", "position_beyond"], [found]),
            helper.make_node("ReduceMin", [found, "position_axis"], [f"{name}first"], keepdims=keepdims),
            helper.make_node("Cast", [f"{name}first"], [node.output[0]], to=TensorProto.INT64),
        ]

    constants = {
        "position_axis": np.array([-1]),
        "position_beyond": np.array(BEYOND, np.float32),
        "position_all": np.arange(MAX_LENGTH, dtype=np.float32),
    }
    n_replaced = _replace_argmax(model, rewrite, constants)
    types = _tensor_types(model) if any(node.op_type in SELECTIONS for node in model.graph.node) else {}
    for node in model.graph.node:
        if node.op_type in SELECTIONS and (kind := types.get(node.input[0])) and kind.elem_type in INTEGERS:
            raise BundleError(
                f"TensorRT may compute {node.op_type} {node.name!r} over integers wrongly; only an "
                "ArgMax that takes the first maximum along the last of two axes can be replaced, in opset "
                f"{OLDEST_OPSET} or later"
            )
    return n_replaced


def cast_uint8_inputs(model: ModelProto) -> int:
    """Cast uint8 inputs to float32 before any other operator reads them; return how many operators changed.

    TensorRT accepts uint8 inputs of a network, but only Cast may read them: not Reshape, Transpose or Shape.
    All values from 0 to 255 are exact in float32, and in float16, to which a later Cast may convert them.
    Raises BundleError naming an operator that computes with bytes.
    """
    graph = model.graph
    ports = [port.name for port in graph.input if port.type.tensor_type.elem_type == TensorProto.UINT8]
    floats = {name: f"{name}_as_floats" for name in ports}
    moved: set[str] = set()  # names of values that were bytes and are floats now
    n_changed = 0
    for node in graph.node:
        read = [name for name in node.input if name in floats or name in moved]
        if not read or node.op_type == "Cast":
            continue
        if node.op_type not in PASSES_ON | READS_SHAPE or read != [node.input[0]]:
            rewritable = ", ".join(sorted(PASSES_ON | READS_SHAPE))
            raise BundleError(
                f"{node.op_type} {node.name!r} computes with the bytes {', '.join(read)}: TensorRT reads "
                f"bytes by Cast only, and only these can be rewritten: {rewritable}"
            )
        n_changed += 1
        node.input[0] = floats.get(read[0], read[0])
        if node.op_type in PASSES_ON:
            moved.update(node.output)
    if n_changed:
        casts = [helper.make_node("Cast", [one], [new], to=TensorProto.FLOAT) for one, new in floats.items()]
        _set(graph.node, [*casts, *graph.node])
        _set(graph.value_info, [port for port in graph.value_info if port.name not in moved])
    return n_changed


def _replace_argmax(model: ModelProto, rewrite: Rewrite, constants: dict[str, Any]) -> int:
    """Replace each ArgMax that takes the first maximum in rows of integers; return how many."""
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
        nodes += rewrite(node, f"position_{n_replaced}_")
        n_replaced += 1
    if n_replaced:
        _set(model.graph.node, nodes)
        start = {"position_start": np.array([0])}
        model.graph.initializer.extend(
            numpy_helper.from_array(np.asarray(value), name) for name, value in (start | constants).items()
        )
    return n_replaced


def _positions(ids: str, name: str) -> list[NodeProto]:
    """Nodes that compute the positions 0, 1, 2 ... in a row of ids, as floats (L,)."""
    return [
        helper.make_node("Shape", [ids], [f"{name}length"], start=1, end=2),
        helper.make_node(
            "Slice",
            ["position_all", "position_start", f"{name}length", "position_start"],
            [f"{name}positions"],
        ),
    ]


def _is_along_rows(node: NodeProto, kind: "onnx.TypeProto.Tensor") -> bool:
    _, axis, is_last = _attributes(node)
    return kind.elem_type in INTEGERS and len(kind.shape.dim) == 2 and axis in (-1, 1) and not is_last


def _attributes(node: NodeProto) -> tuple[int, int, int]:
    """(keepdims, axis, select_last_index) of an ArgMax."""
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return given.get("keepdims", 1), given.get("axis", 0), given.get("select_last_index", 0)


def _tensor_types(model: ModelProto) -> "dict[str, onnx.TypeProto.Tensor]":
    graph = onnx.shape_inference.infer_shapes(model).graph
    return {port.name: port.type.tensor_type for port in (*graph.input, *graph.value_info)}


def _set(field: Any, values: list[Any]) -> None:
    """Replace the values of a repeated field; the new ones may include old ones."""
    kept = [type(value).FromString(value.SerializeToString()) for value in values]
    del field[:]
    field.extend(kept)

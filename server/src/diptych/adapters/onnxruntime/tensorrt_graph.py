"""Rewrites ONNX graphs in memory for TensorRT, whose parser lacks some of their operators.

The files of a version stay as they were published. CLIP pools its text tower at the first largest token id,
by ArgMax over integers. TensorRT computes it by its TopK layer, which may round ids to float16 or choose
another one of equal ids, after which all texts have the same embedding.
"""

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
BEYOND = float(1 << 24)  # above every position; in float32 all ids below it are exact
CONSTANTS: dict[str, Any] = {  # that the replacements of ArgMax read
    "position_axis": np.array([-1]),
    "position_start": np.array([0]),
    "position_beyond": np.array(BEYOND, np.float32),
    "position_all": np.arange(MAX_LENGTH, dtype=np.float32),
}
# Operators that pass values on unchanged in any type, and operators that read the shape only.
PASSES_ON = frozenset(
    {"Reshape", "Transpose", "Identity", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Split"}
)
READS_SHAPE = frozenset({"Shape", "Size"})


def graph_for_tensorrt(file: Path) -> bytes:
    """The graph for TensorRT's parser. External weights stay in their file.

    Raises BundleError naming the file and what cannot be rewritten.
    """
    model = onnx.load(file, load_external_data=False)
    if any(node.op_type == "EPContext" for node in model.graph.node):
        raise BundleError(f"{file.name}: holds a compiled engine, which is executable code")
    if model.functions:
        model = inliner.inline_local_functions(model)
    try:
        replace_argmax_by_reductions(model)
        cast_uint8_inputs(model)
    except BundleError as error:
        raise BundleError(f"{file.name}: {error}") from error
    return bytes(model.SerializeToString())


def replace_argmax_by_reductions(model: ModelProto) -> int:
    """Replace ArgMax over integers by float32 operations with an unambiguous result; return how many.

    The result is the lowest position at which the id is the largest. Raises BundleError naming an ArgMax,
    ArgMin or TopK over integers that cannot be replaced.
    """
    if not any(node.op_type in SELECTIONS for node in model.graph.node):
        return 0
    types, nodes, n_replaced = _tensor_types(model), list[NodeProto](), 0
    opset = next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 0)
    for node in model.graph.node:
        kind = types.get(node.input[0]) if node.op_type in SELECTIONS else None
        if kind is None or kind.elem_type not in INTEGERS:
            nodes.append(node)
        elif opset >= OLDEST_OPSET and _is_along_rows(node, kind):
            nodes += _reductions(node, f"position_{n_replaced}_")
            n_replaced += 1
        else:
            raise BundleError(
                f"TensorRT may compute {node.op_type} {node.name!r} over integers wrongly; only an "
                "ArgMax that takes the first maximum along the last of two axes can be replaced, in opset "
                f"{OLDEST_OPSET} or later"
            )
    if n_replaced:
        _set(model.graph.node, nodes)
        model.graph.initializer.extend(
            numpy_helper.from_array(np.asarray(value), name) for name, value in CONSTANTS.items()
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


def _reductions(node: NodeProto, name: str) -> list[NodeProto]:
    """The operators that replace an ArgMax; `name` begins the names of their values."""
    ids, (keepdims, _, _) = node.input[0], _attributes(node)
    found, last = f"{name}found", ["position_all", "position_start", f"{name}length", "position_start"]
    return [
        helper.make_node("Cast", [ids], [f"{name}ids"], to=TensorProto.FLOAT),  # (B, L)
        helper.make_node("ReduceMax", [f"{name}ids", "position_axis"], [f"{name}largest"], keepdims=1),
        helper.make_node("Equal", [f"{name}ids", f"{name}largest"], [f"{name}is_largest"]),
        helper.make_node("Shape", [ids], [f"{name}length"], start=1, end=2),
        helper.make_node("Slice", last, [f"{name}positions"]),  # 0, 1, 2 ... (L,)
        helper.make_node("Where", [f"{name}is_largest", f"{name}positions", "position_beyond"], [found]),
        helper.make_node("ReduceMin", [found, "position_axis"], [f"{name}first"], keepdims=keepdims),
        helper.make_node("Cast", [f"{name}first"], [node.output[0]], to=TensorProto.INT64),
    ]


def _is_along_rows(node: NodeProto, kind: "onnx.TypeProto.Tensor") -> bool:
    _, axis, is_last = _attributes(node)
    return node.op_type == "ArgMax" and len(kind.shape.dim) == 2 and axis in (-1, 1) and not is_last


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

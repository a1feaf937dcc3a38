"""Find the end-of-text token without ArgMax over integers; knows nothing of the towers around it.

CLIP's text tower is read at its first largest token id. TensorRT computes ArgMax by its TopK layer, which is
made for floating point numbers: of ids it may take the wrong place, for ids that were rounded to float16
(49,406 and 49,407 are one number there), or among equal ids, of which nothing promises the first. The tower
then answers, and all texts are alike. So the place is computed from operations whose result leaves no choice,
in float32, where every id below 2^24 is exact:

    place = min over L of (position where id == max over L of id, else L)
"""

from collections.abc import Iterable

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from diptych.errors import BundleError

OLDEST_OPSET = 18  # since when reductions take their axes as an input
CHOICES = frozenset({"ArgMax", "ArgMin", "TopK"})
INTEGERS = frozenset({TensorProto.INT64, TensorProto.INT32, TensorProto.INT8, TensorProto.UINT8})
FAR = float(2**24)  # past every position


def replace_integer_argmax(model: ModelProto, max_length: int) -> int:
    """Have the graph do without ArgMax over integers; how many there were.

    The types of its values have been inferred; `max_length` is the longest row that will come. Raises
    BundleError naming one that cannot be replaced.
    """
    graph = model.graph
    types = _types(graph)
    nodes: list[NodeProto] = []
    n_replaced = 0
    for node in graph.node:
        if node.op_type in CHOICES and types.get(node.input[0]) in INTEGERS:
            nodes += _first_place_of_largest(node, _ranks(graph), n_replaced)
            n_replaced += 1
        else:
            nodes.append(node)
    if n_replaced:
        _require_opset(model)
        del graph.node[:]
        graph.node.extend(nodes)
        graph.initializer.extend(_constants(max_length))
    return n_replaced


def _first_place_of_largest(node: NodeProto, ranks: dict[str, int], number: int) -> list[NodeProto]:
    """ArgMax along the last of two axes, in other operations."""
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    axis, rank = attributes.get("axis", 0), ranks.get(node.input[0])
    is_first = node.op_type == "ArgMax" and not attributes.get("select_last_index", 0)
    if not is_first or rank != 2 or axis not in (-1, 1):
        raise BundleError(
            f"TensorRT may compute {node.op_type} {node.name!r} over integers wrongly; replaced is an "
            "ArgMax that takes the first of the largest along the last of two axes, "
            f"this one has {rank} axes and {attributes}"
        )
    ids, largest, is_largest, length, places, found, first = (
        f"place_{number}_{part}"
        for part in ("ids", "largest", "is_largest", "length", "places", "found", "first")
    )
    keepdims = attributes.get("keepdims", 1)
    return [
        helper.make_node("Cast", [node.input[0]], [ids], to=TensorProto.FLOAT),  # (B, L)
        helper.make_node("ReduceMax", [ids, "place_axis"], [largest], keepdims=1),  # (B, 1)
        helper.make_node("Equal", [ids, largest], [is_largest]),
        helper.make_node("Shape", [node.input[0]], [length], start=1, end=2),
        helper.make_node("Slice", ["all_places", "place_start", length, "place_start"], [places]),  # (L,)
        helper.make_node("Where", [is_largest, places, "place_far"], [found]),  # (B, L)
        helper.make_node("ReduceMin", [found, "place_axis"], [first], keepdims=keepdims),  # (B,)
        helper.make_node("Cast", [first], [node.output[0]], to=TensorProto.INT64),
    ]


def _constants(max_length: int) -> Iterable[TensorProto]:
    values = {
        "all_places": np.arange(max_length, dtype=np.float32),
        "place_axis": np.array([-1], np.int64),
        "place_start": np.array([0], np.int64),
        "place_far": np.float32(FAR),
    }
    return [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]


def _types(graph: GraphProto) -> dict[str, int]:
    ports = (*graph.input, *graph.value_info, *graph.output)
    known = {port.name: port.type.tensor_type.elem_type for port in ports}
    return known | {tensor.name: tensor.data_type for tensor in graph.initializer}


def _ranks(graph: GraphProto) -> dict[str, int]:
    tensors = {port.name: port.type.tensor_type for port in (*graph.input, *graph.value_info)}
    return {name: len(one.shape.dim) for name, one in tensors.items() if one.HasField("shape")}


def _require_opset(model: ModelProto) -> None:
    opset = next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 0)
    if opset < OLDEST_OPSET:
        raise BundleError(
            f"the graph has opset {opset}, ArgMax over integers is replaced in {OLDEST_OPSET} and later"
        )

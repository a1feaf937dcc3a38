"""The nodes and values of a graph that stay in float32 when it is converted to float16, and its constants.

Only operators listed here are converted. All others stay in float32, such as LayerNormalization,
BatchNormalization, Softmax, every Reduce, Pow, Sqrt, and Cast: float16 holds token ids exactly only up to
2,048.
"""

from itertools import chain

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator


def float_names(graph: GraphProto) -> set[str]:
    """Names of all float32 values: inputs, weights, intermediate values, outputs."""
    ports = chain(graph.input, graph.value_info, graph.output)
    computed = {port.name for port in ports if port.type.tensor_type.elem_type == TensorProto.FLOAT}
    return computed | {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}


def constant_names(graph: GraphProto) -> set[str]:
    """Names of all weights."""
    return {tensor.name for tensor in graph.initializer}


def lift_constants(graph: GraphProto) -> None:
    """Turn every Constant node that holds a tensor or floats into a weight."""
    kept = []
    for node in graph.node:
        tensor = _constant(node) if node.op_type == "Constant" else None
        if tensor is None:
            kept.append(node)
        else:
            graph.initializer.append(tensor)
    del graph.node[:]
    graph.node.extend(kept)


def fold_stored_weights(graph: GraphProto) -> None:
    """Compute every weight that is stored as float16 and cast, multiplied or transposed (`half_weights`).

    Otherwise the result would not count as a weight, and would stay in float32.
    """
    weights = {tensor.name: tensor for tensor in graph.initializer}
    kept = []
    for node in graph.node:
        if node.op_type in {"Cast", "Mul", "Transpose"} and all(name in weights for name in node.input):
            sources = {name: numpy_helper.to_array(weights[name]) for name in node.input}
            (values,) = ReferenceEvaluator(node).run(None, sources)
            weights[node.output[0]] = numpy_helper.from_array(np.ascontiguousarray(values), node.output[0])
        else:
            kept.append(node)
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(weights.values())


def _constant(node: NodeProto) -> TensorProto | None:
    (attribute,) = node.attribute
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.name == "value":
        tensor = TensorProto()
        tensor.CopyFrom(value)
        tensor.name = node.output[0]
        return tensor
    if attribute.name in ("value_float", "value_floats"):
        return numpy_helper.from_array(np.asarray(value, np.float32), node.output[0])
    return None


# Always float16: matrix products, convolutions, and harmless operators between them.
FLOAT16_OPERATORS = frozenset(
    {"MatMul", "Gemm", "Conv", "ConvTranspose", "MaxPool", "AveragePool"}
    | {
        "Relu",
        "LeakyRelu",
        "Gelu",
        "Sigmoid",
        "HardSigmoid",
        "HardSwish",
        "Tanh",
        "Erf",
        "Elu",
        "Pad",
        "Tile",
    }
)
# Float16 unless an input is float32: `x - mean` or `x / norm` belongs to its normalisation, and moving values
# costs less than converting them twice.
FLOAT32_IF_ANY_INPUT = frozenset(
    {"Sub", "Mul", "Div", "Neg", "Abs", "Max", "Min", "Clip", "Where", "Identity", "Expand", "Reshape"}
    | {
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Slice",
        "Split",
        "Gather",
        "GatherND",
        "Shape",
        "IsNaN",
    }
)
# Float16 unless all inputs are float32: a residual sum next to a normalisation does not become part of it.
FLOAT32_IF_ALL_INPUTS = frozenset({"Add", "Concat"})
# Scaling and masking of logits stay with their softmax: a mask may be -3.4e38.
BEFORE_SOFTMAX = frozenset({"Add", "Sub", "Mul", "Div", "Where", "Max", "Clip"})


def float32_nodes(graph: GraphProto) -> set[int]:
    """Positions of the nodes that stay in float32. Value types of the graph must be inferred."""
    full = _by_operator(graph)
    consumers: dict[str, list[int]] = {}
    for index, node in enumerate(graph.node):
        for name in node.input:
            consumers.setdefault(name, []).append(index)
    softmax = {index for index, node in enumerate(graph.node) if node.op_type in {"Softmax", "LogSoftmax"}}
    for index in reversed(range(len(graph.node))):
        node = graph.node[index]
        users = [user for name in node.output for user in consumers.get(name, [])]
        if node.op_type in BEFORE_SOFTMAX and users and softmax.issuperset(users):
            softmax.add(index)
    return full | softmax


def _by_operator(graph: GraphProto) -> set[int]:
    floats, constants = float_names(graph), constant_names(graph)
    full_values = {port.name for port in graph.input if port.type.tensor_type.elem_type == TensorProto.FLOAT}
    full: set[int] = set()
    for index, node in enumerate(graph.node):
        followed = [name in full_values for name in node.input if name in floats - constants]
        if _stays_float32(node, followed):
            full.add(index)
            full_values.update(node.output)
    return full


def _stays_float32(node: NodeProto, followed: list[bool]) -> bool:
    """`followed`: for each computed float input, whether it is float32."""
    if node.domain not in ("", "ai.onnx"):
        return True
    if node.op_type in FLOAT32_IF_ANY_INPUT:
        return any(followed)
    if node.op_type in FLOAT32_IF_ALL_INPUTS:
        return bool(followed) and all(followed)
    return node.op_type not in FLOAT16_OPERATORS

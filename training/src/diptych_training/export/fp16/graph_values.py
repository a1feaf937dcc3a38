"""Find the float32 values and constants of a graph, and normalise how constants are stored."""

from itertools import chain

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, numpy_helper


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


def fold_casts_of_weights(graph: GraphProto) -> None:
    """Turn every weight that is stored as float16 and cast to float32 into a float32 weight.

    Otherwise the result of the cast would not count as a weight, and would stay in float32.
    """
    weights = {tensor.name: tensor for tensor in graph.initializer}
    kept = []
    for node in graph.node:
        source = weights.get(node.input[0]) if node.op_type == "Cast" else None
        if source is not None and source.data_type == TensorProto.FLOAT16 and _casts_to_float32(node):
            values = numpy_helper.to_array(source).astype(np.float32)
            graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


def _casts_to_float32(node: NodeProto) -> bool:
    return any(attribute.name == "to" and attribute.i == TensorProto.FLOAT for attribute in node.attribute)


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

"""Find the float32 values and constants of a graph, and normalise how constants are stored."""

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

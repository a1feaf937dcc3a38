"""Find matrix products with constant weights in a graph."""

from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from diptych_training.export.onnx.graph import Floats, Graph, attributes


@dataclass(frozen=True)
class Linear:
    """``target = source @ weight + bias``: a Gemm, or a MatMul and the Add of its bias."""

    nodes: tuple[str, ...]
    source: str
    target: str
    weight: str
    transposed: bool  # the constant is (N, K)
    bias: str | None


def find_linear(graph: Graph, node: NodeProto) -> Linear | None:
    """The matrix product that starts at a node, or None."""
    if node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type == "MatMul" and graph.is_float_constant(node.input[1], rank=2):
        return _with_bias(graph, node)
    if node.op_type == "Gemm" and graph.is_float_constant(node.input[1], rank=2):
        return _gemm(graph, node)
    return None


def weight_of(graph: Graph, linear: Linear) -> Floats:
    """(K, N) float32."""
    weight = graph.array(linear.weight)
    return np.ascontiguousarray(weight.T) if linear.transposed else weight


def bias_of(graph: Graph, linear: Linear) -> Floats | None:
    """(N,) float32."""
    return None if linear.bias is None else graph.array(linear.bias).reshape(-1)


def _gemm(graph: Graph, node: NodeProto) -> Linear | None:
    options = attributes(node)
    plain = (
        options.get("alpha", 1.0) == 1.0 and options.get("beta", 1.0) == 1.0 and not options.get("transA", 0)
    )
    transposed = bool(options.get("transB", 0))
    bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
    width = graph.constants[node.input[1]].dims[0 if transposed else 1]
    if not plain or (bias is not None and not _is_row(graph, bias, width)):
        return None
    return Linear((node.name,), node.input[0], node.output[0], node.input[1], transposed, bias)


def _with_bias(graph: Graph, node: NodeProto) -> Linear:
    width = graph.constants[node.input[1]].dims[1]
    alone = Linear((node.name,), node.input[0], node.output[0], node.input[1], False, None)
    add = graph.only_reader(node.output[0])
    if add is None or add.op_type != "Add":
        return alone
    others = [name for name in add.input if name != node.output[0]]
    if len(others) != 1 or not _is_row(graph, others[0], width):
        return alone
    return Linear((node.name, add.name), node.input[0], add.output[0], node.input[1], False, others[0])


def _is_row(graph: Graph, name: str, width: int) -> bool:
    tensor = graph.constants.get(name)
    return tensor is not None and list(tensor.dims)[-1:] == [width] and int(np.prod(tensor.dims)) == width

"""Find products in a graph: matrix products with constant weights, and a transformer's patch embedding."""

from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, TensorProto

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


PIXEL_ZERO_POINT = 128  # centres the pixels, so that rounding errors of weights do not add up over a patch


@dataclass(frozen=True)
class PatchEmbedding:
    """``pixels (B, S, S, 3) uint8 -> Cast -> * gain -> + offset -> Transpose -> Conv``, stride = kernel."""

    name: str
    pixels: str
    size: int  # S
    edge: int  # of a patch, px
    gain: Floats  # (3,)
    offset: Floats  # (3,)


def find_patch_embedding(graph: Graph, conv: NodeProto) -> PatchEmbedding | None:
    """Describe a convolution that is a patch embedding; None for any other."""
    kernel = graph.constants[conv.input[1]].dims  # (N, 3, edge, edge)
    options = attributes(conv)
    plain = (
        list(options.get("strides", [1, 1])) == list(kernel[2:])
        and kernel[2] == kernel[3]
        and not any(options.get("pads", [0]))
        and options.get("group", 1) == 1
        and set(options.get("dilations", [1])) == {1}
        and options.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
    )
    layout = graph.producer.get(conv.input[0])
    if not plain or layout is None or layout.op_type != "Transpose":
        return None
    if attributes(layout).get("perm") != [0, 3, 1, 2]:
        return None
    added, offset = _operand(graph, layout.input[0], "Add")
    scaled, gain = _operand(graph, added, "Mul")
    cast = graph.producer.get(scaled)
    if offset is None or gain is None or cast is None or cast.op_type != "Cast":
        return None
    return _from_pixels(graph, conv, cast.input[0], gain, offset)


def folded_weights(graph: Graph, embedding: PatchEmbedding) -> tuple[Floats, Floats]:
    """Matrix (K, N) and bias (N,) of the product with patches of `pixel - PIXEL_ZERO_POINT`."""
    conv = graph.node[embedding.name]
    kernel = graph.array(conv.input[1])  # (N, 3, edge, edge)
    bias = graph.array(conv.input[2]) if len(conv.input) > 2 else np.zeros(len(kernel), np.float32)
    scaled = (kernel * embedding.gain[:, None, None]).transpose(2, 3, 1, 0)  # memory order of pixels: y, x, c
    moved = (embedding.offset + PIXEL_ZERO_POINT * embedding.gain).astype(
        np.float64
    )  # what a pixel of 128 becomes
    bias = bias + (kernel * moved[:, None, None]).sum(axis=(1, 2, 3)).astype(np.float32)
    return np.ascontiguousarray(scaled.reshape(-1, len(kernel))), bias.astype(np.float32)


def _operand(graph: Graph, name: str, op_type: str) -> tuple[str, Floats | None]:
    """The variable input of an Add or Mul with a constant (3,), and that constant."""
    node = graph.producer.get(name)
    if node is None or node.op_type != op_type:
        return "", None
    known = [other for other in node.input if other in graph.constants]
    if len(known) != 1 or list(graph.constants[known[0]].dims) != [3]:
        return "", None
    return next(other for other in node.input if other != known[0]), graph.array(known[0])


def _from_pixels(
    graph: Graph, conv: NodeProto, pixels: str, gain: Floats, offset: Floats
) -> PatchEmbedding | None:
    if pixels not in graph.inputs:
        return None
    tensor = graph.inputs[pixels].type.tensor_type
    size = tensor.shape.dim[1].dim_value
    square = len(tensor.shape.dim) == 4 and size > 0 and tensor.shape.dim[2].dim_value == size
    if tensor.elem_type != TensorProto.UINT8 or not square:
        return None
    return PatchEmbedding(conv.name, pixels, size, graph.constants[conv.input[1]].dims[2], gain, offset)

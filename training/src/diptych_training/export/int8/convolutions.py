"""Quantise convolutions and the operators between them.

QuantizeLinear and DequantizeLinear are inserted around float nodes, and onnxruntime fuses them into integer
kernels: uint8 activations, int8 weights with a scale for each output channel.
"""

from collections.abc import Collection, Mapping

import numpy as np
from onnx import NodeProto, TensorProto
from onnx.helper import make_node

from diptych_training.export.int8.scales import Scale, quantised_kernels
from diptych_training.export.onnx.graph import Graph, Rewrite, constant, rewired

# Operators that stay in 8 bits if all their inputs are in 8 bits.
JOINING = ("Add", "AveragePool", "GlobalAveragePool", "Concat")


def quantised_tensors(graph: Graph, convolutions: Collection[str]) -> dict[str, str]:
    """Tensors that are in 8 bits if these convolutions are; each with the tensor whose range it uses."""
    tensors: dict[str, str] = {}
    for node in graph.nodes:
        target = _after_relu(graph, node)
        if node.name in convolutions:
            tensors.setdefault(node.input[0], node.input[0])
            tensors.setdefault(target, target)
        elif node.op_type in JOINING and all(name in tensors for name in node.input):
            tensors.setdefault(target, target)
        elif node.op_type == "MaxPool" and node.input[0] in tensors:
            tensors.setdefault(node.output[0], tensors[node.input[0]])
    return {name: owner for name, owner in tensors.items() if name not in graph.outputs}


def convolution_rewrite(graph: Graph, name: str, source: Scale) -> Rewrite:
    """Rewrite a convolution with int8 kernels and an int32 bias."""
    node, p = graph.node[name], f"{name}/int8"
    bias = graph.array(node.input[2]) if len(node.input) > 2 else None
    codes, scales, whole = quantised_kernels(graph.array(node.input[1]), bias, source.scale)
    inputs = [node.input[0], f"{p}/kernels"]
    nodes = [_dequantise(f"{p}/codes", f"{p}/scales", f"{p}/zeros", f"{p}/kernels")]
    constants = [
        constant(f"{p}/codes", codes),
        constant(f"{p}/scales", scales),
        constant(f"{p}/zeros", np.zeros(len(scales), np.int8)),
    ]
    if whole is not None:
        inputs.append(f"{p}/bias")
        nodes.append(_dequantise(f"{p}/whole", f"{p}/steps", f"{p}/none", f"{p}/bias"))
        constants += [
            constant(f"{p}/whole", whole),
            constant(f"{p}/steps", (scales * np.float32(source.scale)).astype(np.float32)),
            constant(f"{p}/none", np.zeros(len(scales), np.int32)),
        ]
    return Rewrite(frozenset([name]), (*nodes, rewired(node, inputs, node.output)), tuple(constants))


def insert_quantize_dequantize(
    graph: Graph, nodes: list[NodeProto], scales: Mapping[str, Scale]
) -> tuple[list[NodeProto], list[TensorProto]]:
    """Insert QuantizeLinear and DequantizeLinear after the producer of each tensor of `scales`.

    Returns the nodes and the new constants. A Relu or Relu6 whose output has a scale with zero point 0 is
    removed, since quantising clips at 0 and at the largest value that the calibration saw behind it.
    """
    renamed = {
        node.output[0]: _after_relu(graph, node)
        for node in graph.nodes
        if not _is_relu(graph, node) and _after_relu(graph, node) != node.output[0]
    }
    renamed = {
        raw: target for raw, target in renamed.items() if target in scales and scales[target].zero == 0
    }
    dropped = set(renamed.values())
    result = [node for name in graph.inputs if name in scales for node in _quantize_dequantize(name)]
    for node in nodes:
        if node.output[0] in dropped:
            continue
        inputs = [f"{name}/rounded" if name in scales else name for name in node.input]
        result.append(rewired(node, inputs, [renamed.get(name, name) for name in node.output]))
        for name in result[-1].output:
            if name in scales:
                if node.op_type == "Conv" and node.input[1] in graph.constants:
                    result.append(_keep_float(result[-1], name))
                result += _quantize_dequantize(name)
    return result, [
        tensor for name, scale in scales.items() for tensor in _quantize_dequantize_constants(name, scale)
    ]


def _after_relu(graph: Graph, node: NodeProto) -> str:
    reader = graph.only_reader(node.output[0])
    name: str = reader.output[0] if reader is not None and _is_relu(graph, reader) else node.output[0]
    return name


def _is_relu(graph: Graph, node: NodeProto) -> bool:
    """True for a Relu, and for a Clip between 0 and another constant, such as Relu6."""
    bounds = node.input[1:]
    return node.op_type == "Relu" or (
        node.op_type == "Clip"
        and len(bounds) == 2
        and all(graph.is_float_constant(name, rank=0) for name in bounds)
        and float(graph.array(bounds[0])) == 0
    )


def _keep_float(convolution: NodeProto, name: str) -> NodeProto:
    """Put a Max that changes nothing, since quantising clips as well, behind a float convolution.

    Between a DequantizeLinear and a QuantizeLinear, onnxruntime would quantise its kernels with one scale.
    """
    convolution.output[0] = f"{name}/float"
    return make_node("Max", [f"{name}/float", f"{name}/lowest"], [name], name=f"{name}/lowest")


def _quantize_dequantize(name: str) -> list[NodeProto]:
    inputs = [f"{name}/scale", f"{name}/zero"]
    return [
        make_node("QuantizeLinear", [name, *inputs], [f"{name}/codes"], name=f"{name}/codes"),
        make_node(
            "DequantizeLinear", [f"{name}/codes", *inputs], [f"{name}/rounded"], name=f"{name}/rounded"
        ),
    ]


def _quantize_dequantize_constants(name: str, scale: Scale) -> list[TensorProto]:
    return [
        constant(f"{name}/scale", np.float32(scale.scale)),
        constant(f"{name}/zero", np.uint8(scale.zero)),
        constant(f"{name}/lowest", np.float32(-scale.zero * scale.scale)),
    ]


def _dequantise(codes: str, scales: str, zeros: str, target: str) -> NodeProto:
    return make_node("DequantizeLinear", [codes, scales, zeros], [target], name=target, axis=0)

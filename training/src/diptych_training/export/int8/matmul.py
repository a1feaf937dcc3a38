"""The int8 forms of matrix products with constant weights.

The input has one calibrated scale, or one for each row, or stays float, and only the weights are int8.
"""

from collections.abc import Sequence

import numpy as np
from onnx import NodeProto, TensorProto
from onnx.helper import make_node

from diptych_training.export.int8.layers import MatMulGroup
from diptych_training.export.int8.scales import best_scale, quantised_columns
from diptych_training.export.int8.smooth_quant import SmoothedInput
from diptych_training.export.onnx.graph import CONTRIB, Floats, Graph, Rewrite, constant
from diptych_training.export.onnx.linear import Linear, bias_of, weight_of

ROW_STEPS, ROW_ZERO = 127, 128
SMALLEST = 1e-12  # a row of zeros is divided by this


def static_rewrite(graph: Graph, layer: MatMulGroup, smoothed: SmoothedInput) -> Rewrite:
    """Rewrite with one calibrated scale for the whole input."""
    p = f"{layer.name}/int8"
    scale = best_scale(smoothed.stats.lowest, smoothed.stats.highest, smoothed.stats.rows)
    nodes = [_quantise(smoothed.source, p)]
    constants = [constant(f"{p}/scale", np.float32(scale.scale)), constant(f"{p}/zero", np.uint8(scale.zero))]
    for linear in layer.linears:
        node, tensors = _integer_product(graph, linear, smoothed.factors, p, linear.target, bias=True)
        nodes.append(node)
        constants += tensors
    return _rewrite(layer.linears, nodes, constants, smoothed)


def rows_rewrite(graph: Graph, layer: MatMulGroup, smoothed: SmoothedInput) -> Rewrite:
    """Rewrite with a scale for each row: rows are divided by their largest magnitude, products multiplied."""
    p = f"{layer.name}/int8"
    nodes = [
        make_node("Abs", [smoothed.source], [f"{p}/sizes"], name=f"{p}/sizes"),
        make_node("ReduceMax", [f"{p}/sizes", f"{p}/axis"], [f"{p}/top"], name=f"{p}/top", keepdims=1),
        make_node("Max", [f"{p}/top", f"{p}/smallest"], [f"{p}/peak"], name=f"{p}/peak"),
        make_node("Div", [smoothed.source, f"{p}/peak"], [f"{p}/unit"], name=f"{p}/unit"),
        _quantise(f"{p}/unit", p),
    ]
    constants = [
        constant(f"{p}/axis", np.array([-1])),
        constant(f"{p}/smallest", np.float32(SMALLEST)),
        constant(f"{p}/scale", np.float32(1 / ROW_STEPS)),
        constant(f"{p}/zero", np.uint8(ROW_ZERO)),
    ]
    for linear in layer.linears:
        q = f"{linear.nodes[0]}/int8"
        node, tensors = _integer_product(graph, linear, smoothed.factors, p, f"{q}/product", bias=False)
        bias = bias_of(graph, linear)
        scaled = linear.target if bias is None else f"{q}/scaled"
        nodes += [node, make_node("Mul", [f"{q}/product", f"{p}/peak"], [scaled], name=f"{q}/scaled")]
        constants += tensors
        if bias is not None:
            nodes.append(make_node("Add", [scaled, f"{q}/bias"], [linear.target], name=f"{q}/sum"))
            constants.append(constant(f"{q}/bias", bias))
    return _rewrite(layer.linears, nodes, constants, smoothed)


def weights_rewrite(graph: Graph, layer: MatMulGroup) -> Rewrite:
    """Rewrite with int8 weights that are converted to float32 at run time: a quarter of the size."""
    nodes, constants = list[NodeProto](), list[TensorProto]()
    for linear in layer.linears:
        q = f"{linear.nodes[0]}/int8"
        codes, scales = quantised_columns(weight_of(graph, linear))
        bias = bias_of(graph, linear)
        target = linear.target if bias is None else f"{q}/product"
        nodes += [
            make_node("DequantizeLinear", [f"{q}/codes", f"{q}/scales"], [f"{q}/weight"], name=f"{q}/weight"),
            make_node("MatMul", [linear.source, f"{q}/weight"], [target], name=f"{q}/product"),
        ]
        constants += [constant(f"{q}/codes", codes), constant(f"{q}/scales", scales)]
        if bias is not None:
            nodes.append(make_node("Add", [target, f"{q}/bias"], [linear.target], name=f"{q}/sum"))
            constants.append(constant(f"{q}/bias", bias))
    replaced = frozenset(name for linear in layer.linears for name in linear.nodes)
    return Rewrite(replaced, tuple(nodes), tuple(constants))


def _quantise(source: str, p: str) -> NodeProto:
    name = f"{p}/codes"
    return make_node("QuantizeLinear", [source, f"{p}/scale", f"{p}/zero"], [name], name=name)


def _integer_product(
    graph: Graph, linear: Linear, factors: Floats, p: str, target: str, *, bias: bool
) -> tuple[NodeProto, list[TensorProto]]:
    """uint8 codes and int8 weights -> float32 in one node."""
    q = f"{linear.nodes[0]}/int8"
    weight, scales = quantised_columns(weight_of(graph, linear) * factors[:, None])
    row = bias_of(graph, linear) if bias else None
    inputs = [f"{p}/codes", f"{q}/weight", f"{p}/scale", f"{q}/scales", f"{p}/zero"]
    node = make_node(
        "MatMulIntegerToFloat",
        inputs if row is None else [*inputs, "", f"{q}/bias"],
        [target],
        name=f"{q}/product",
        domain=CONTRIB,
    )
    constants = [constant(f"{q}/weight", weight), constant(f"{q}/scales", scales)]
    return node, constants if row is None else [*constants, constant(f"{q}/bias", row)]


def _rewrite(
    linears: Sequence[Linear], nodes: list[NodeProto], constants: list[TensorProto], smoothed: SmoothedInput
) -> Rewrite:
    replaced = frozenset(name for linear in linears for name in linear.nodes) | smoothed.replaces
    return Rewrite(replaced, (*smoothed.nodes, *nodes), (*smoothed.constants, *constants))

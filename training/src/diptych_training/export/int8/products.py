"""The int8 forms of products with constant weights: matrix products, patch embeddings, embedding tables.

The input of a matrix product has one calibrated scale, or one for each row, or stays float, and only the
weights are int8. A patch embedding is a matrix product over patches, since its stride equals its kernel size;
its input is uint8 pixels: with ``(pixel * gain + offset)`` folded into weights and bias, the activations have
no rounding error.
"""

from collections.abc import Sequence

import numpy as np
from onnx import NodeProto, TensorProto
from onnx.helper import make_node

from diptych_training.export.int8.layers import EmbeddingTable, MatMulGroup
from diptych_training.export.int8.scales import best_scale, quantised_columns, quantised_rows
from diptych_training.export.int8.smooth_quant import SmoothedInput
from diptych_training.export.onnx.graph import CONTRIB, Floats, Graph, Rewrite, constant
from diptych_training.export.onnx.patterns import (
    PIXEL_ZERO_POINT,
    Linear,
    PatchEmbedding,
    bias_of,
    folded_weights,
    weight_of,
)

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


def patch_rewrite(graph: Graph, layer: PatchEmbedding) -> Rewrite:
    """Replace the convolution by one product of uint8 patches and int8 weights."""
    conv = graph.node[layer.name]
    matrix, bias = folded_weights(graph, layer)
    weight, scales = quantised_columns(matrix)
    grid, edge, width, p = layer.size // layer.edge, layer.edge, len(bias), f"{layer.name}/int8"
    cut = f"{p}/cut" if grid * edge != layer.size else layer.pixels
    nodes = [
        make_node("Reshape", [cut, f"{p}/cells"], [f"{p}/grid"], name=f"{p}/grid"),
        make_node("Transpose", [f"{p}/grid"], [f"{p}/tiles"], name=f"{p}/tiles", perm=[0, 1, 3, 2, 4, 5]),
        make_node("Reshape", [f"{p}/tiles", f"{p}/rows"], [f"{p}/patches"], name=f"{p}/patches"),
        make_node(
            "MatMulIntegerToFloat",
            [f"{p}/patches", f"{p}/weight", f"{p}/one", f"{p}/scales", f"{p}/zero", "", f"{p}/bias"],
            [f"{p}/product"],
            name=f"{p}/product",
            domain=CONTRIB,
        ),  # (B, grid * grid, N)
        make_node("Transpose", [f"{p}/product"], [f"{p}/planes"], name=f"{p}/planes", perm=[0, 2, 1]),
        make_node("Reshape", [f"{p}/planes", f"{p}/map"], [conv.output[0]], name=f"{p}/map"),
    ]
    constants = [
        constant(f"{p}/cells", np.array([-1, grid, edge, grid, edge, 3])),
        constant(f"{p}/rows", np.array([-1, grid * grid, edge * edge * 3])),
        constant(f"{p}/map", np.array([-1, width, grid, grid])),
        constant(f"{p}/weight", weight),
        constant(f"{p}/one", np.float32(1)),
        constant(f"{p}/scales", scales),
        constant(f"{p}/zero", np.uint8(PIXEL_ZERO_POINT)),
        constant(f"{p}/bias", bias),
    ]
    if cut != layer.pixels:
        # A convolution ignores the pixels that do not fill a patch.
        nodes.insert(
            0, make_node("Slice", [layer.pixels, f"{p}/from", f"{p}/to", f"{p}/axes"], [cut], name=cut)
        )
        constants += [
            constant(f"{p}/from", np.array([0, 0])),
            constant(f"{p}/to", np.array([grid * edge, grid * edge])),
            constant(f"{p}/axes", np.array([1, 2])),
        ]
    return Rewrite(frozenset([layer.name]), tuple(nodes), tuple(constants))


def table_rewrite(graph: Graph, layer: EmbeddingTable) -> Rewrite:
    """Gather int8 rows and multiply them by their scales: a quarter of the size, the same speed."""
    node = graph.node[layer.name]
    codes, scales = quantised_rows(graph.array(node.input[0]))  # (V, W), (V, 1)
    p, ids = f"{layer.name}/int8", node.input[1]
    nodes = (
        make_node("Gather", [f"{p}/table", ids], [f"{p}/codes"], name=f"{p}/codes", axis=0),
        make_node("Cast", [f"{p}/codes"], [f"{p}/floats"], name=f"{p}/floats", to=TensorProto.FLOAT),
        make_node("Gather", [f"{p}/scales", ids], [f"{p}/scale"], name=f"{p}/scale", axis=0),
        make_node("Mul", [f"{p}/floats", f"{p}/scale"], [node.output[0]], name=f"{p}/rows"),
    )
    constants = (constant(f"{p}/table", codes), constant(f"{p}/scales", scales))
    return Rewrite(frozenset([layer.name]), nodes, constants)

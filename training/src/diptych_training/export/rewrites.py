"""Rewrites of a float32 graph that make it faster.

The Gather that pools one token moves before the per-token work of the last block (upstream gather). A tower
that pools at one token (CLIP's class token, or a text's end-of-text token) computes the output projection and
the feed-forward part of its last block for every token, then drops all rows but one. These operators work on
each token alone, so the row can be gathered first: the same sums, with nine twelfths less work in the last
block.

QuickGELU, ``x * sigmoid(1.702 x)`` between two matrix products, becomes SiLU. With ``y = 1.702 x`` it is ``y
* sigmoid(y) / 1.702``: the factor is multiplied into the weights and bias before, its inverse into the
weights after. That saves a pass over the widest activations of a block.

A patch embedding becomes a matrix product on uint8 pixels instead of a convolution (im2col and GEMM). The
convolution's stride equals its kernel size: each patch is read once, so it is a product of the patches (B, N,
P) with a matrix (P, W). The product needs no float copy of the image in another layout, moves bytes instead
of floats, and has the pixel scaling folded into its weights.
"""

from collections.abc import Sequence

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper
from onnx.helper import make_node

from diptych_training.export.onnx.graph import Graph, attributes, constant, other, rebuilt, rewired
from diptych_training.export.onnx.patterns import (
    PIXEL_ZERO_POINT,
    Linear,
    PatchEmbedding,
    find_linear,
    find_patch_embedding,
    folded_weights,
)


def patch_embedding_as_matmul(graph: Graph) -> ModelProto | None:
    """The model with a matrix product for its patch embedding; None if it has no such convolution."""
    for node in graph.nodes:
        known = [name in graph.constants and len(graph.shapes[name]) for name in node.input[1:]]
        is_plain = node.op_type == "Conv" and known in ([4], [4, 1])
        embedding = find_patch_embedding(graph, node) if is_plain else None
        target = None if embedding is None else _patch_rows(graph, node)
        if embedding is not None and target is not None and embedding.size % embedding.edge == 0:
            return _with_product(graph, embedding, target)
    return None


def _patch_rows(graph: Graph, convolution: NodeProto) -> NodeProto | None:
    """The Transpose -> (B, N, W) after the Reshape (B, W, h, w) -> (B, W, N) after a convolution."""
    flat = graph.only_reader(convolution.output[0])
    rows = None if flat is None else graph.only_reader(flat.output[0])
    if flat is None or rows is None or (flat.op_type, rows.op_type) != ("Reshape", "Transpose"):
        return None
    before, after = (graph.shapes.get(node.output[0], ()) for node in (convolution, flat))
    is_flat = len(before) == 4 and len(after) == 3 and before[1] == after[1]
    return rows if is_flat and attributes(rows).get("perm") == [0, 2, 1] else None


def _with_product(graph: Graph, embedding: PatchEmbedding, target: NodeProto) -> ModelProto:
    weights, bias = folded_weights(graph, embedding)
    grid, edge, p = embedding.size // embedding.edge, embedding.edge, f"{embedding.name}/product"
    constants = [
        constant(f"{p}/cells", np.array([0, grid, edge, grid, edge * 3])),  # 0: B
        constant(f"{p}/rows", np.array([0, grid * grid, edge * edge * 3])),
        constant(f"{p}/middle", np.float32(-PIXEL_ZERO_POINT)),
        constant(f"{p}/weights", weights),
        constant(f"{p}/bias", bias),
    ]
    nodes = [
        make_node("Reshape", [embedding.pixels, f"{p}/cells"], [f"{p}/grid"]),
        make_node("Transpose", [f"{p}/grid"], [f"{p}/tiles"], perm=[0, 1, 3, 2, 4]),  # bytes, not yet floats
        make_node("Reshape", [f"{p}/tiles", f"{p}/rows"], [f"{p}/codes"]),
        make_node("Cast", [f"{p}/codes"], [f"{p}/values"], to=TensorProto.FLOAT),
        make_node("Add", [f"{p}/values", f"{p}/middle"], [f"{p}/centred"]),
        make_node("MatMul", [f"{p}/centred", f"{p}/weights"], [f"{p}/sums"]),
        make_node("Add", [f"{p}/sums", f"{p}/bias"], target.output),
    ]
    place = graph.nodes.index(target)
    return rebuilt(graph, [*graph.nodes[:place], *nodes, *graph.nodes[place + 1 :]], constants)


def quick_gelu_as_silu(graph: Graph) -> ModelProto | None:
    """The model with SiLU; None if it has no QuickGELU between two products with weights of their own."""
    instead: dict[int, NodeProto] = {}
    constants: list[TensorProto] = []
    for node in graph.nodes:
        factors = _factors(graph, node) if node.op_type == "Sigmoid" else {}
        if factors:
            (gate,) = graph.readers(node.output[0])
            instead[id(node)] = rewired(node, [other(gate, node.output[0])], node.output)
            constants += [constant(name, graph.array(name) * factor) for name, factor in factors.items()]
    if not instead:
        return None
    return rebuilt(graph, [instead.get(id(node), node) for node in graph.nodes], constants)


def _factors(graph: Graph, sigmoid: NodeProto) -> dict[str, float]:
    """The factor for each weight around a gate; empty if the gate is not a QuickGELU."""
    scaling, gate = graph.producer.get(sigmoid.input[0]), graph.only_reader(sigmoid.output[0])
    if scaling is None or gate is None or not scaling.op_type == gate.op_type == "Mul":
        return {}
    x = other(gate, sigmoid.output[0])
    factor = other(scaling, x)
    others = [reader for reader in graph.readers(x) if reader not in (scaling, gate)]
    if x not in scaling.input or others or graph.only_reader(scaling.output[0]) is None:
        return {}
    before, behind = _before(graph, x), graph.only_reader(gate.output[0])
    after = None if behind is None else find_linear(graph, behind)
    if before is None or before.bias is None or after is None or after.source != gate.output[0]:
        return {}
    weights = (before.weight, before.bias, after.weight)
    if x in graph.outputs or any(graph.only_reader(name) is None for name in weights):
        return {}
    value = float(graph.array(factor)) if graph.is_float_constant(factor, rank=0) else 0.0
    return dict(zip(weights, (value, value, 1 / value), strict=True)) if value > 0 else {}


def _before(graph: Graph, x: str) -> Linear | None:
    """The matrix product, with its bias, that computes x."""
    add = graph.producer.get(x)
    producers = [] if add is None else [graph.producer[name] for name in add.input if name in graph.producer]
    linears = [find_linear(graph, node) for node in producers]
    return next((one for one in linears if one is not None and one.target == x), None)


UNARY = frozenset({"Gelu", "Sigmoid", "Relu", "Tanh", "Erf", "HardSwish", "Identity", "Neg"})
BINARY = frozenset({"Add", "Sub", "Mul", "Div"})
TOKEN_RANK = 3  # (B, L, W)


def upstream_gather(graph: Graph) -> ModelProto | None:
    """The model with its pooling moved; None if no matrix product would have fewer rows."""
    for pooling in graph.nodes:
        moved = _movable(graph, pooling) if _is_pooling(graph, pooling) else []
        if any(node.op_type == "MatMul" for node in moved):
            return rebuilt(graph, _pooled_before(graph, pooling, moved), [])
    return None


def _is_pooling(graph: Graph, node: NodeProto) -> bool:
    """`x[:, 0]` is a Gather on axis 1, `x[arange(B), ids.argmax(-1)]` a GatherND by (B, 2) indices."""
    if node.op_type not in ("Gather", "GatherND") or node.input[0] in graph.constants:
        return False
    data, index = (graph.shapes.get(name) for name in node.input)
    if data is None or len(data) != TOKEN_RANK:
        return False
    if node.op_type == "Gather":
        return attributes(node).get("axis", 0) == 1 and index in ((), (1,))
    return attributes(node).get("batch_dims", 0) == 0 and index is not None and index[-1:] == (2,)


def _movable(graph: Graph, pooling: NodeProto) -> list[NodeProto]:
    """The nodes that work on each row alone and whose output only the pooling needs."""
    inside, moved = {id(pooling)}, []
    for node in reversed(graph.nodes):
        readers = {id(reader) for name in node.output for reader in graph.readers(name)}
        needed_inside = readers and readers <= inside and graph.outputs.isdisjoint(node.output)
        if needed_inside and _works_on_rows(graph, node, pooling):
            inside.add(id(node))
            moved.append(node)
    return moved[::-1]


def _works_on_rows(graph: Graph, node: NodeProto, pooling: NodeProto) -> bool:
    def is_weight(name: str, rank: int) -> bool:
        return name in graph.constants and len(graph.shapes[name]) <= rank

    if node.op_type in BINARY:  # a row (W,) meets one token as it meets all
        return all(_has_tokens(graph, name, pooling) or is_weight(name, 1) for name in node.input)
    if not _has_tokens(graph, node.input[0], pooling):
        return False
    if node.op_type == "MatMul":
        return is_weight(node.input[1], 2)
    if node.op_type == "LayerNormalization":
        return attributes(node).get("axis", -1) in (-1, TOKEN_RANK - 1)
    return node.op_type in UNARY


def _has_tokens(graph: Graph, name: str, pooling: NodeProto) -> bool:
    """True if the value is (B, L, W) with the B and L of the pooled value."""
    shape = graph.shapes.get(name, ())
    same = shape[:2] == graph.shapes[pooling.input[0]][:2]
    return name not in graph.constants and len(shape) == TOKEN_RANK and same


def _pooled_before(graph: Graph, pooling: NodeProto, moved: Sequence[NodeProto]) -> list[NodeProto]:
    inner = {node.output[0] for node in moved}
    row = {moved[-1].output[0]: pooling.output[0]}  # the name of a value's pooled row
    poolings, rows = {}, []
    for node in moved:
        for name in node.input:
            if name not in inner and _has_tokens(graph, name, pooling):
                row[name] = f"{name}_pooled"
                inputs = [name, pooling.input[1]]
                poolings[name] = helper.make_node(
                    pooling.op_type, inputs, [row[name]], name=row[name], **attributes(pooling)
                )
        normalised = {"axis": -1} if node.op_type == "LayerNormalization" else {}  # one axis less
        outputs = [row.get(name, name) for name in node.output]
        rows.append(rewired(node, [row.get(name, name) for name in node.input], outputs, **normalised))
    gone = {id(node) for node in moved}
    place = graph.nodes.index(pooling)
    before = [node for node in graph.nodes[:place] if id(node) not in gone]
    return [*before, *poolings.values(), *rows, *graph.nodes[place + 1 :]]

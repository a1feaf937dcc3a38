"""Compute a patch embedding as a matrix product on uint8 pixels instead of a convolution (im2col and GEMM).

A vision transformer begins with a convolution whose stride equals its kernel size: each patch is read once,
so the convolution is a product of the patches (B, N, P) with a matrix (P, W). The product needs no float copy
of the image in another layout, moves bytes instead of floats, and has the pixel scaling folded into its
weights.
"""

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto
from onnx.helper import make_node

from diptych_training.export.onnx.graph import Graph, attributes, constant, rebuilt
from diptych_training.export.onnx.patches import (
    PIXEL_ZERO_POINT,
    PatchEmbedding,
    find_patch_embedding,
    folded_weights,
)


def patch_embedding_as_matmul(graph: Graph) -> ModelProto | None:
    """The model with a matrix product for its patch embedding; None if it has no such convolution."""
    for node in graph.nodes:
        known = [name in graph.constants and len(graph.shapes[name]) for name in node.input[1:]]
        is_plain = node.op_type == "Conv" and known in ([4], [4, 1])
        embedding = find_patch_embedding(graph, node) if is_plain else None
        target = None if embedding is None else _rows(graph, node)
        if embedding is not None and target is not None and embedding.size % embedding.edge == 0:
            return _with_product(graph, embedding, target)
    return None


def _rows(graph: Graph, convolution: NodeProto) -> NodeProto | None:
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

"""Embed patches by one matrix product on the raw pixels, not by a convolution; knows nothing of what follows.

A vision transformer begins with a convolution whose kernel is its stride: each patch is seen once, so the
convolution is a product of the patches (B, N, P) with a matrix (P, W). The product needs no float copy of the
image in another layout, bytes are moved instead of floats, and the scaling of pixels goes into its weights.
"""

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto
from onnx.helper import make_node

from diptych_training.export.onnx.graph import Graph, attributes, constant, rebuilt
from diptych_training.export.onnx.patches import MIDDLE, Patches, find_patches, folded


def patches_by_product(graph: Graph) -> ModelProto | None:
    """The model with a product for its patches; None where no convolution of pixels tiles them into rows."""
    for node in graph.nodes:
        known = [name in graph.constants and len(graph.shapes[name]) for name in node.input[1:]]
        is_plain = node.op_type == "Conv" and known in ([4], [4, 1])
        site = find_patches(graph, node) if is_plain else None
        target = None if site is None else _rows(graph, node)
        if site is not None and target is not None and site.size % site.edge == 0:
            return _with_product(graph, site, target)
    return None


def _rows(graph: Graph, convolution: NodeProto) -> NodeProto | None:
    """The Transpose -> (B, N, W) behind the Reshape (B, W, h, w) -> (B, W, N) behind a convolution."""
    flat = graph.only_reader(convolution.output[0])
    rows = None if flat is None else graph.only_reader(flat.output[0])
    if flat is None or rows is None or (flat.op_type, rows.op_type) != ("Reshape", "Transpose"):
        return None
    before, after = (graph.shapes.get(node.output[0], ()) for node in (convolution, flat))
    is_flat = len(before) == 4 and len(after) == 3 and before[1] == after[1]
    return rows if is_flat and attributes(rows).get("perm") == [0, 2, 1] else None


def _with_product(graph: Graph, site: Patches, target: NodeProto) -> ModelProto:
    weights, bias = folded(graph, site)
    grid, edge, p = site.size // site.edge, site.edge, f"{site.name}/product"
    constants = [
        constant(f"{p}/cells", np.array([0, grid, edge, grid, edge * 3])),  # 0: B
        constant(f"{p}/rows", np.array([0, grid * grid, edge * edge * 3])),
        constant(f"{p}/middle", np.float32(-MIDDLE)),
        constant(f"{p}/weights", weights),
        constant(f"{p}/bias", bias),
    ]
    nodes = [
        make_node("Reshape", [site.pixels, f"{p}/cells"], [f"{p}/grid"]),
        make_node("Transpose", [f"{p}/grid"], [f"{p}/tiles"], perm=[0, 1, 3, 2, 4]),  # bytes, not yet floats
        make_node("Reshape", [f"{p}/tiles", f"{p}/rows"], [f"{p}/codes"]),
        make_node("Cast", [f"{p}/codes"], [f"{p}/values"], to=TensorProto.FLOAT),
        make_node("Add", [f"{p}/values", f"{p}/middle"], [f"{p}/centred"]),
        make_node("MatMul", [f"{p}/centred", f"{p}/weights"], [f"{p}/sums"]),
        make_node("Add", [f"{p}/sums", f"{p}/bias"], target.output),
    ]
    place = graph.nodes.index(target)
    return rebuilt(graph, [*graph.nodes[:place], *nodes, *graph.nodes[place + 1 :]], constants)

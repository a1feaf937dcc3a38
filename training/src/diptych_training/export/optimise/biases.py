"""Let matrix products add their biases themselves; knows nothing of towers.

A product of tokens (B, L, K) with weights (K, N) and the addition of a bias are two operators, and the second
goes over all values once more. Gemm does both at once, for matrices alone: the tokens of all items become the
rows of one, which moves nothing. onnxruntime puts the two together by itself where it knows the batch, and
ours is whatever comes. Each item must have a known number of tokens, since it has to be said how many rows
belong together.
"""

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from diptych_training.export.optimise.neighbours import Neighbours, other
from diptych_training.export.optimise.shapes import Shape, shapes_of

RANK = 3  # (B, L, K)


def biases_in_products(graph: GraphProto) -> int:
    """Rewrite in place; gives how many products take their bias. The graph's shapes have been inferred."""
    neighbours, writer = Neighbours(graph), _Writer(shapes_of(graph))
    nodes: list[NodeProto] = []
    added = set()
    for node in graph.node:
        add = _added(neighbours, node)
        if add is not None and writer.knows_tokens(node):
            nodes += writer.gemm(node, add)
            added.add(add.output[0])
        elif node.output[0] not in added:
            nodes.append(node)
    if added:
        del graph.node[:]
        graph.node.extend(nodes)
        graph.initializer.extend(writer.constants())
    return len(added)


def _added(neighbours: Neighbours, node: NodeProto) -> NodeProto | None:
    """The Add of a bias to a product with weights, if the node is one and nothing else reads it."""
    if node.op_type != "MatMul" or not neighbours.is_weight(node.input[1], 2):
        return None
    add = neighbours.only_reader(node.output[0], "Add")
    return add if add is not None and neighbours.is_weight(other(add, node.output[0]), 1) else None


class _Writer:
    """Makes the nodes; each constant, and the rows of each value, once."""

    def __init__(self, shapes: dict[str, Shape]) -> None:
        self._shapes = shapes
        self._rows: set[str] = set()
        self._sizes: dict[str, list[int]] = {}

    def knows_tokens(self, product: NodeProto) -> bool:
        """Whether it is of rank 3 with a known number of tokens."""
        shape = self._shapes.get(product.output[0], ())
        return len(shape) == RANK and all(isinstance(size, int) for size in shape[1:])

    def gemm(self, product: NodeProto, add: NodeProto) -> list[NodeProto]:
        """What takes the place of both, in order."""
        source, weights = product.input
        width, n_outputs = self._shapes[weights]
        _, n_tokens, _ = self._shapes[product.output[0]]
        rows, sums = f"{source}_as_rows", f"{product.output[0]}_rows"
        bias, target = other(add, product.output[0]), add.output[0]
        nodes = []
        if rows not in self._rows:
            self._rows.add(rows)
            nodes.append(helper.make_node("Reshape", [source, self._size(-1, width)], [rows], name=rows))
        nodes.append(helper.make_node("Gemm", [rows, weights, bias], [sums], name=sums))
        tokens = self._size(-1, n_tokens, n_outputs)
        return [*nodes, helper.make_node("Reshape", [sums, tokens], [target], name=f"{sums}_as_tokens")]

    def constants(self) -> list[TensorProto]:
        """The shapes that the nodes read."""
        return [numpy_helper.from_array(np.array(size), name) for name, size in self._sizes.items()]

    def _size(self, *sizes: int | str) -> str:
        known = [int(size) for size in sizes]
        name = "shape_" + "x".join("n" if size < 0 else str(size) for size in known)
        self._sizes[name] = known
        return name

"""Take the pooled token before the last block's per-token work, not after it; knows nothing of weights.

A tower that is pooled at one token (CLIP's class token, or a text's end-of-text token) computes the output
projection and the feed-forward part of its last block for every token, and then throws all rows but one away.
Each of these operators treats every token alike, so the row may be taken first: the same sums, for nine
twelfths less work in the last block.
"""

from collections.abc import Sequence

from onnx import GraphProto, NodeProto, helper

from diptych_training.export.optimise.shapes import Shape, shapes_of

ELEMENTWISE = frozenset({"Gelu", "Sigmoid", "Relu", "Tanh", "Erf", "HardSwish", "Identity", "Neg"})
BINARY = frozenset({"Add", "Sub", "Mul", "Div"})
TOKEN_RANK = 3  # (B, L, W)


def pool_first(graph: GraphProto) -> int:
    """Move what can stand behind a pooling there, in place; gives how many matrix products have moved.

    The graph's shapes have been inferred. It is left as it is when no matrix product would move.
    """
    nodes = list(graph.node)
    layout = _Layout(graph)
    n_products = 0
    for pooling in [node for node in nodes if layout.is_pooling(node)]:
        moved = layout.movable(nodes, pooling)
        n_moved = sum(node.op_type == "MatMul" for node in moved)
        if n_moved:
            nodes = _rearranged(nodes, pooling, moved, layout)
            n_products += n_moved
    if n_products:
        del graph.node[:]
        graph.node.extend(nodes)
        del graph.value_info[:]  # the rows that moved have lost their token axis
    return n_products


class _Layout:
    """What is known of a graph's values: their shapes, and which of them are weights."""

    def __init__(self, graph: GraphProto) -> None:
        self.shapes: dict[str, Shape] = shapes_of(graph)
        self.weights = {tensor.name for tensor in graph.initializer}
        self.outputs = {port.name for port in graph.output}

    def is_pooling(self, node: NodeProto) -> bool:
        """`x[:, 0]` is a Gather on axis 1, `x[arange(B), ids.argmax(-1)]` a GatherND by (B, 2) indices."""
        if node.op_type not in ("Gather", "GatherND"):
            return False
        data, index = (self.shapes.get(name) for name in node.input)
        if data is None or len(data) != TOKEN_RANK or node.input[0] in self.weights:
            return False
        attributes = {attribute.name: attribute.i for attribute in node.attribute}
        if node.op_type == "Gather":
            return attributes.get("axis", 0) == 1 and index in ((), (1,))
        return attributes.get("batch_dims", 0) == 0 and index is not None and index[-1:] == (2,)

    def movable(self, nodes: Sequence[NodeProto], pooling: NodeProto) -> list[NodeProto]:
        """The nodes whose rows are needed by nothing but the pooling, and that work on each row alone."""
        tokens = self.shapes[pooling.input[0]][:2]  # (B, L)
        users: dict[str, list[int]] = {}
        for node in nodes:
            for name in node.input:
                users.setdefault(name, []).append(id(node))
        inside = {id(pooling)}
        moved = []
        for node in reversed(nodes):
            (*_, name) = node.output
            needed_inside = name in users and name not in self.outputs and inside.issuperset(users[name])
            if needed_inside and self._works_on_rows(node, tokens):
                inside.add(id(node))
                moved.append(node)
        return moved[::-1]

    def has_tokens(self, name: str, tokens: Shape) -> bool:
        """Whether the value is (B, L, ...) with this B and L."""
        shape = self.shapes.get(name, ())
        return name not in self.weights and len(shape) == TOKEN_RANK and shape[:2] == tokens

    def _works_on_rows(self, node: NodeProto, tokens: Shape) -> bool:
        first, *others = node.input
        if node.op_type in ELEMENTWISE:
            return self.has_tokens(first, tokens)
        if node.op_type == "MatMul":
            return self.has_tokens(first, tokens) and self._is_weight(others[0], rank=2)
        if node.op_type == "LayerNormalization":
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), -1)
            return self.has_tokens(first, tokens) and axis in (-1, TOKEN_RANK - 1)
        return node.op_type in BINARY and all(
            self.has_tokens(name, tokens) or self._is_weight(name, rank=1) for name in node.input
        )

    def _is_weight(self, name: str, rank: int) -> bool:
        """A weight of at most this rank: it meets a row (W,) as it meets the tokens (B, L, W)."""
        return name in self.weights and len(self.shapes[name]) <= rank


def _rearranged(
    nodes: Sequence[NodeProto], pooling: NodeProto, moved: Sequence[NodeProto], layout: _Layout
) -> list[NodeProto]:
    tokens = layout.shapes[pooling.input[0]][:2]
    inner = {name for node in moved for name in node.output}
    poolings: dict[str, NodeProto] = {}  # one for each value that reaches the moved nodes from before
    for node in moved:
        for position, name in enumerate(node.input):
            if name not in inner and layout.has_tokens(name, tokens):
                row = poolings.setdefault(name, _pooling_of(name, pooling))
                node.input[position] = row.output[0]
        _normalise_last_axis(node)
    moved[-1].output[0] = pooling.output[0]
    place = next(index for index, node in enumerate(nodes) if node is pooling)
    gone = {id(node) for node in moved}
    before = [node for node in nodes[:place] if id(node) not in gone]
    return [*before, *poolings.values(), *moved, *nodes[place + 1 :]]


def _pooling_of(name: str, pooling: NodeProto) -> NodeProto:
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in pooling.attribute}
    return helper.make_node(pooling.op_type, [name, pooling.input[1]], [f"{name}_pooled"], **attributes)


def _normalise_last_axis(node: NodeProto) -> None:
    for attribute in node.attribute:
        if node.op_type == "LayerNormalization" and attribute.name == "axis":
            attribute.i = -1  # the same axis, whether or not the token axis is still there

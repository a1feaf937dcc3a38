"""Let a single token ask the tokens themselves, not keys and values of them; knows nothing of towers.

Keys are tokens times weights, x W, and logits are queries times keys: q (x W)^T = (q W^T) x^T. Where every
token asks, the first order is the cheaper one. Where one does, as in the last attention of a tower that is
pooled at one token, the second is: the weights meet one row instead of all. So it is with values: s (x W) =
(s x) W. Each head has its own columns of the weights, which become a matrix of their own. (DeepSeek-V2,
DeepSeek-AI 2024, section 2.1, absorbs its up-projections so; there a new token of a text asks alone.)

A bias of keys adds one number to all logits, which the softmax takes away; the shares that it gives sum to
one, so that a bias of values is added behind.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, helper, numpy_helper

from diptych_training.export.optimise.neighbours import Neighbours, has_graphs_inside, other
from diptych_training.export.optimise.shapes import Shape, shapes_of
from diptych_training.export.optimise.unread import drop_unread

Floats = NDArray[np.float32]

# Where heads go for the products with queries and with shares, by the axis of their tokens: of (B, L, H, d)
# and of (L, B, H, d).
KEYS = {1: [0, 2, 3, 1], 0: [1, 2, 3, 0]}
VALUES = {1: [0, 2, 1, 3], 0: [1, 2, 0, 3]}
# Where tokens (B, L, W) or (L, B, W) go for the same products.
AS_KEYS = {1: [0, 2, 1], 0: [1, 2, 0]}
SWAPPED = [1, 0, 2]


@dataclass(frozen=True)
class _Projection:
    """Keys or values: `tokens` (B, L, W) times the weights (H, W, d) of each head, plus a bias (H, 1, d).

    `axis` is that of the tokens: 0 where they come before items.
    """

    tokens: str
    axis: int
    weights: Floats
    bias: Floats | None


@dataclass(frozen=True)
class _Attention:
    """What is to be rewritten: the products for logits and for sums, and what these read."""

    logits: NodeProto
    softmax: NodeProto
    sums: NodeProto
    keys: _Projection
    values: _Projection


def ask_tokens(graph: GraphProto) -> int:
    """Rewrite in place; gives how many projections of all tokens have gone.

    The graph's shapes have been inferred. Attentions that more than one token asks, or whose form is another,
    are left as they are.
    """
    if has_graphs_inside(graph):
        return 0
    finder = _Finder(graph)
    found = [finder.attention(node) for node in graph.node if node.op_type == "Softmax"]
    attentions = [one for one in found if one is not None]
    replaced: dict[int, list[NodeProto]] = {}  # by the node whose place they take
    for attention in attentions:
        replaced |= _rewritten(graph, attention)
        (axis,) = [one for one in attention.softmax.attribute if one.name == "axis"]
        axis.i = -1  # the last, which is another one now
    if attentions:
        nodes = [new for node in graph.node for new in replaced.get(id(node), [node])]
        del graph.node[:]
        graph.node.extend(nodes)
        drop_unread(graph)
        del graph.value_info[:]  # logits and shares have lost the axis of the asking token
    return 2 * len(attentions)


class _Finder:
    """Looks around in a graph, and changes nothing."""

    def __init__(self, graph: GraphProto) -> None:
        self._shapes: dict[str, Shape] = shapes_of(graph)
        self._neighbours = Neighbours(graph)

    def attention(self, softmax: NodeProto) -> _Attention | None:
        """What leads to this softmax and away from it, if one token asks."""
        sums = self._neighbours.only_reader(softmax.output[0], "MatMul")
        logits = self._logits(softmax.input[0])
        over_last = _attribute(softmax, "axis") in (-1, 3)  # where it is not said, versions differ
        if sums is None or logits is None or not over_last or sums.input[0] != softmax.output[0]:
            return None
        asking = self._shapes.get(logits.input[0], ())
        if len(asking) != 4 or asking[2] != 1:
            return None
        keys, values = self._projection(logits.input[1], KEYS), self._projection(sums.input[1], VALUES)
        if keys is None or values is None or not asking[1] == len(keys.weights) == len(values.weights):
            return None
        return _Attention(logits, softmax, sums, keys, values)

    def _logits(self, name: str) -> NodeProto | None:
        """The product whose values, times numbers and read by nothing else, are here."""
        name, _ = self._unscaled(name)
        return self._only_made(name, "MatMul")

    def _unscaled(self, name: str) -> tuple[str, float]:
        """The value and the factor of which the one that is read once is the product."""
        factor = 1.0
        while (node := self._only_made(name, "Mul") or self._only_made(name, "Div")) is not None:
            if not self._is_number(node.input[1]):
                break
            number = float(self._neighbours.array(node.input[1]).item())
            if number == 0:
                break
            factor = factor * number if node.op_type == "Mul" else factor / number
            name = node.input[0]
        return name, factor

    def _is_number(self, name: str) -> bool:
        is_float = self._neighbours.is_weight(name, 0) or self._neighbours.is_weight(name, 1)
        return is_float and self._shapes[name] in ((), (1,))

    def _projection(self, name: str, perms: dict[int, list[int]]) -> _Projection | None:
        """What a product of the attention reads, if it is tokens times weights in heads, and only that."""
        name, factor = self._unscaled(name)
        transposition = self._only_made(name, "Transpose")
        reshape = None if transposition is None else self._only_made(transposition.input[0], "Reshape")
        if transposition is None or reshape is None:
            return None
        perm = _attribute(transposition, "perm")
        axis = next((one for one, known in perms.items() if known == perm), None)
        add = self._only_made(reshape.input[0], "Add")
        biases = [] if add is None else [one for one in add.input if self._neighbours.is_weight(one, 1)]
        made = other(add, biases[0]) if add is not None and biases else reshape.input[0]
        product = self._only_made(made, "MatMul")
        heads = self._shapes.get(reshape.output[0], ())
        if product is None or axis is None or not self._are_heads(self._shapes.get(made, ()), heads, axis):
            return None
        if not self._neighbours.is_weight(product.input[1], 2):
            return None
        n_heads, width = int(heads[2]), int(heads[3])
        if any(self._shapes[one] != (n_heads * width,) for one in biases):
            return None
        weights = factor * self._neighbours.array(product.input[1])
        bias = factor * self._neighbours.array(biases[0]).reshape(n_heads, 1, width) if biases else None
        return _Projection(
            product.input[0], axis, weights.reshape(-1, n_heads, width).transpose(1, 0, 2), bias
        )

    def _only_made(self, name: str, operator: str) -> NodeProto | None:
        """What makes a value that is read once, if it is such an operator."""
        return self._neighbours.maker(name, operator) if len(self._neighbours.readers(name)) == 1 else None

    def _are_heads(self, tokens: Shape, heads: Shape, axis: int) -> bool:
        """Whether (B, L, H * d) and (B, L, H, d) are the two shapes: no token is mixed with another."""
        if len(tokens) != 3 or len(heads) != 4 or tokens[axis] != heads[axis]:
            return False
        n_heads, width = heads[2:]
        return isinstance(n_heads, int) and isinstance(width, int) and tokens[2] == n_heads * width


def _rewritten(graph: GraphProto, attention: _Attention) -> dict[int, list[NodeProto]]:
    """Other products for logits and sums, under the same names, by the node in whose place they come.

    Logits are (B, H, L), as are the shares that come of them, in place of (B, H, 1, L).
    """
    keys, values, logits, sums = attention.keys, attention.values, attention.logits, attention.sums
    n_heads, _, width = keys.weights.shape
    asking = _Chain(graph, logits.output[0])
    asked = asking.add("Transpose", [keys.tokens], "asked", perm=AS_KEYS[keys.axis])  # (B, W, L)
    heads = asking.constant("heads", np.array([-1, n_heads, width]))
    by_head = asking.add("Reshape", [logits.input[0], heads], "by_head")  # (B, H, d)
    by_item = asking.times_weights(by_head, keys.weights.transpose(0, 2, 1), None)  # (B, H, W)
    asking.nodes.append(helper.make_node("MatMul", [by_item, asked], logits.output, name=logits.name))
    answer = _Chain(graph, sums.output[0])
    tokens = values.tokens
    if values.axis == 0:
        tokens = answer.add("Transpose", [tokens], "told", perm=SWAPPED)  # (B, L, W)
    mixed = answer.add("MatMul", [attention.softmax.output[0], tokens], "mixed")  # (B, H, W)
    by_item = answer.times_weights(mixed, values.weights, values.bias)  # (B, H, d)
    one_row = answer.constant("one_row", np.array([-1, n_heads, 1, values.weights.shape[2]]))
    answer.nodes.append(helper.make_node("Reshape", [by_item, one_row], sums.output, name=sums.name))
    return {id(logits): asking.nodes, id(sums): answer.nodes}


class _Chain:
    """Nodes in a row, whose values are named after one that they lead to."""

    def __init__(self, graph: GraphProto, name: str) -> None:
        self.nodes: list[NodeProto] = []
        self._graph = graph
        self._name = name

    def add(self, operator: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """The name of what the new node makes."""
        output = f"{self._name}_{name}"
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        """Its name in the graph."""
        output = f"{self._name}_{name}"
        self._graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), output))
        return output

    def times_weights(self, rows: str, weights: Floats, bias: Floats | None) -> str:
        """(B, H, K) times (H, K, N), plus (H, 1, N): one product for each head, of all items."""
        first = self.add("Transpose", [rows], "heads_first", perm=SWAPPED)
        made = self.add("MatMul", [first, self.constant("weights", weights)], "weighed")
        if bias is not None:
            made = self.add("Add", [made, self.constant("bias", bias)], "biased")
        return self.add("Transpose", [made], "items_first", perm=SWAPPED)


def _attribute(node: NodeProto, name: str) -> Any:
    """None where it is not said."""
    return next((helper.get_attribute_value(one) for one in node.attribute if one.name == name), None)

"""Drop the biases of an attention's keys and fold those of its values into what follows; knows no towers.

The bias of the keys adds the same number to all logits of one asking token, which the softmax takes away
again. The shares that the softmax gives sum to one, so the bias of the values comes out of the attention as
it is: it may as well be multiplied by the output's weights once, and be part of their bias. Both save a pass
over all tokens, and change the order of sums only.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, numpy_helper

from diptych_training.export.optimise.shapes import Shape, shapes_of
from diptych_training.export.optimise.unread import drop_unread

TOKENS = 1  # the axis of (B, L, W) and of (B, L, heads, W / heads)
KEYS, VALUES = -1, -2  # where that axis comes to lie, transposed for the products with logits and with shares


@dataclass(frozen=True)
class _Biased:
    """A product with weights, and the Add of a bias behind it that only one node reads."""

    product: str
    bias: str
    read_by: NodeProto


def attention_biases(graph: GraphProto) -> int:
    """Take the biases away, in place; gives how many. Attentions of any other form are left as they are."""
    n_folded = 0
    for softmax in [node for node in graph.node if node.op_type == "Softmax"]:
        finder = _Finder(graph)
        n_folded += finder.drop_keys(softmax) + finder.fold_values(softmax)
    if n_folded:
        drop_unread(graph)
    return n_folded


class _Finder:
    """Looks around one softmax of a graph, and changes what it finds."""

    def __init__(self, graph: GraphProto) -> None:
        self._graph = graph
        self._shapes: dict[str, Shape] = shapes_of(graph)
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output}
        self._readers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        self._outputs = frozenset(port.name for port in graph.output)

    def drop_keys(self, softmax: NodeProto) -> int:
        """1 when there was a bias."""
        logits = self._logits(softmax.input[0])
        found = None if logits is None else self._biased(self._unscaled(logits.input[1]), KEYS)
        if found is None or not self._is_over_last(softmax):
            return 0
        found.read_by.input[0] = found.product
        return 1

    def fold_values(self, softmax: NodeProto) -> int:
        """1 when there was a bias that could be folded."""
        sums = self._reader(softmax.output[0], "MatMul")
        if sums is None or sums.input[0] != softmax.output[0] or not self._is_over_last(softmax):
            return 0
        found, after = self._biased(sums.input[1], VALUES), self._output_of(sums)
        if found is None or after is None:
            return 0
        weights, add = after
        self._fold(found, self._array(weights), add)
        return 1

    def _fold(self, found: _Biased, weights: NDArray[np.float32], add: NodeProto) -> None:
        place = 1 if add.input[1] in self._weights else 0
        folded = self._array(found.bias).astype(np.float64) @ weights.astype(np.float64)
        folded += self._array(add.input[place]).astype(np.float64)
        name = f"{add.output[0]}_bias"
        self._graph.initializer.append(numpy_helper.from_array(folded.astype(np.float32), name))
        add.input[place] = name
        found.read_by.input[0] = found.product

    def _output_of(self, sums: NodeProto) -> tuple[str, NodeProto] | None:
        """The weights (W, N) of the product that reads the heads, joined again, and the Add of its bias."""
        transpose = self._reader(sums.output[0], "Transpose")
        reshape = None if transpose is None else self._reader(transpose.output[0], "Reshape")
        if transpose is None or reshape is None or _perm(transpose) != [0, 2, 1, 3]:
            return None
        product = self._reader(reshape.output[0], "MatMul")
        if product is None or product.input[1] not in self._weights:
            return None
        add = self._reader(product.output[0], "Add")
        joined = self._splits(reshape.output[0], reshape.input[0])
        if add is None or not joined or not any(self._is_vector(name) for name in add.input):
            return None
        return product.input[1], add

    def _logits(self, name: str) -> NodeProto | None:
        """The product of queries and keys: scaled by one number, and masked, before the softmax."""
        node = self._maker(name)
        if node is None or node.op_type == "MatMul":
            return node
        if node.op_type == "Add":
            found = [self._logits(one) for one in node.input if one not in self._weights]
            return next((one for one in found if one is not None), None)
        unscaled = self._unscaled(name)
        return None if unscaled == name else self._logits(unscaled)

    def _unscaled(self, name: str) -> str:
        """What was multiplied or divided by one number; itself where it was not."""
        node = self._maker(name)
        if node is None or node.op_type not in {"Mul", "Div"} or not self._is_number(node.input[1]):
            return name
        return str(node.input[0])

    def _biased(self, name: str, place: int) -> _Biased | None:
        """Behind the split into heads, with the tokens at `place`: a product with weights plus a bias."""
        transpose = self._maker(name, "Transpose")
        reshape = None if transpose is None else self._maker(transpose.input[0], "Reshape")
        if transpose is None or reshape is None or _perm(transpose)[place] != TOKENS:
            return None
        add = self._maker(reshape.input[0], "Add")
        if add is None or not self._splits(reshape.input[0], reshape.output[0]):
            return None
        for product, bias in (add.input, reversed(add.input)):
            if self._is_vector(bias) and self._maker(product, "MatMul") is not None:
                return _Biased(product, bias, reshape)
        return None

    def _splits(self, tokens: str, heads: str) -> bool:
        """Whether (B, L, W) and (B, L, H, W / H) are the two shapes: no token is mixed with another."""
        whole, split = self._shapes.get(tokens, ()), self._shapes.get(heads, ())
        if len(whole) != 3 or len(split) != 4 or whole[TOKENS] != split[TOKENS]:
            return False
        width, n_heads, head = whole[2], split[2], split[3]
        return isinstance(n_heads, int) and isinstance(head, int) and width == n_heads * head

    def _maker(self, name: str, operator: str = "") -> NodeProto | None:
        """What makes a value that is read once and is no output, if it is such an operator."""
        node = self._makers.get(name)
        alone = len(self._readers.get(name, [])) == 1 and name not in self._outputs
        return node if node is not None and alone and operator in {"", node.op_type} else None

    def _reader(self, name: str, operator: str) -> NodeProto | None:
        """What alone reads a value, if it is such an operator."""
        readers = self._readers.get(name, [])
        alone = len(readers) == 1 and name not in self._outputs
        return readers[0] if alone and readers[0].op_type == operator else None

    def _is_over_last(self, softmax: NodeProto) -> bool:
        axis = next((one.i for one in softmax.attribute if one.name == "axis"), -1)
        rank = len(self._shapes.get(softmax.output[0], ()))
        return axis == -1 or axis == rank - 1

    def _is_number(self, name: str) -> bool:
        return name in self._weights and self._array(name).size == 1

    def _is_vector(self, name: str) -> bool:
        return name in self._weights and len(self._weights[name].dims) == 1

    def _array(self, name: str) -> NDArray[np.float32]:
        return numpy_helper.to_array(self._weights[name])


def _perm(transpose: NodeProto) -> list[int]:
    """Of four axes; reversed where it is not said."""
    return next((list(one.ints) for one in transpose.attribute if one.name == "perm"), [3, 2, 1, 0])

"""Keep tokens as the rows of a matrix, whose products add their biases themselves; knows nothing of towers.

A product of tokens (B, L, K) with weights (K, N) and the addition of a bias are two operators, and the second
goes over all values once more. Gemm does both at once, for matrices alone: the tokens of all items become the
rows of one, which moves nothing. onnxruntime puts the two together by itself where it knows the batch, and
ours is whatever comes. What treats every token alike goes on with rows, so that they are made once; the shape
is given back where something else asks for it. At most one size may be unknown, since a Reshape has to make
the others.
"""

from collections.abc import Sequence

from onnx import GraphProto, NodeProto

from diptych_training.export.optimise.neighbours import other
from diptych_training.export.optimise.relayout import Relayout, unknown_sizes

RANK = 3  # (B, L, K), or (L, B, K)


def tokens_as_rows(graph: GraphProto) -> int:
    """Rewrite in place; gives how many products take their bias. The graph's shapes have been inferred."""
    changed = _Rows(graph)
    changed.go_through()
    if changed.n_biases:
        changed.write()
    return changed.n_biases


class _Rows(Relayout):
    """Values (A, B, W) are carried as (A * B, W)."""

    suffix = "rows"

    def __init__(self, graph: GraphProto) -> None:
        super().__init__(graph)
        self.n_biases = 0

    def carry(self, node: NodeProto) -> bool:
        if node.output[0] in self.carried:  # the bias of a product that was made with it
            return True
        match node.op_type:
            case "MatMul":
                return self._product(node)
            case "Reshape":
                return self._reshape(node)
            case _:
                return self._is_by_row(node) and self.by_token(node)

    def partner(self, name: str, rank: int) -> str | None:
        return self._rows(name) if len(self.shapes[name]) == rank else name

    def give_back(self, name: str) -> None:
        self.new("Reshape", [self.carried[name], self.size(self.shapes[name])], name)

    def _rows(self, name: str) -> str:
        if name not in self.carried:
            size = self.size([-1, self.shapes[name][-1]])
            self.new("Reshape", [name, size], self.carried_as(name))
        return self.carried[name]

    def _product(self, node: NodeProto) -> bool:
        source, weights = node.input
        is_matrix = _is_matrix_to_be(self.shapes.get(source, ()))
        if not is_matrix or not self.neighbours.is_weight(weights, 2):
            return False
        add = self._bias(node)
        if add is None and source not in self.carried:
            return False
        rows = self._rows(source)
        if add is None:
            self.new("MatMul", [rows, weights], self.carried_as(node.output[0]))
        else:
            bias = other(add, node.output[0])
            self.new("Gemm", [rows, weights, bias], self.carried_as(add.output[0]))
            self.n_biases += 1
        return True

    def _bias(self, product: NodeProto) -> NodeProto | None:
        """The Add of a bias to the product, if nothing else reads it."""
        add = self.neighbours.only_reader(product.output[0], "Add")
        if add is None:
            return None
        bias = other(add, product.output[0])
        n_outputs = self.shapes[product.input[1]][1]
        return add if self.neighbours.is_weight(bias, 1) and self.shapes[bias] == (n_outputs,) else None

    def _reshape(self, node: NodeProto) -> bool:
        """From rows as from what they were; a matrix to be is made as rows at once."""
        after = self.shapes.get(node.output[0], ())
        source = self.carried.get(node.input[0], node.input[0])
        if _is_matrix_to_be(after):
            self.new("Reshape", [source, self.size([-1, after[-1]])], self.carried_as(node.output[0]))
            return True
        if source == node.input[0] or not after or unknown_sizes(after) > 1:
            return False
        self.new("Reshape", [source, self.size(after)], node.output[0])
        return True

    def _is_by_row(self, node: NodeProto) -> bool:
        """Whether every input has the rows of the output, or is one row for all: no other repeating."""
        after = self.shapes.get(node.output[0], ())
        return _is_matrix_to_be(after) and all(
            one is not None and (len(one) <= 1 or (len(one) == RANK and _known(one[:2]) == _known(after[:2])))
            for one in map(self.shapes.get, node.input)
        )


def _known(sizes: Sequence[int | str]) -> list[int | None]:
    """Without names: at most one of these two is unknown, and it is the number of items wherever it is."""
    return [size if isinstance(size, int) else None for size in sizes]


def _is_matrix_to_be(shape: Sequence[int | str]) -> bool:
    return len(shape) == RANK and unknown_sizes(shape[:2]) <= 1 and unknown_sizes(shape[2:]) == 0

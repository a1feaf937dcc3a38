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
SUFFIX = "rows"


def tokens_as_rows(graph: GraphProto) -> int:
    """Rewrite in place; gives how many products take their bias. The graph's shapes have been inferred."""
    layout, changed = _Rows(), Relayout(graph)
    changed.through(layout)
    if layout.n_biases:
        changed.write()
    return layout.n_biases


class _Rows:
    """Values (A, B, W) are carried as (A * B, W)."""

    def __init__(self) -> None:
        self.n_biases = 0
        self._added: set[str] = set()

    def carry(self, node: NodeProto, graph: Relayout) -> bool:
        if node.output[0] in self._added:
            return True
        match node.op_type:
            case "MatMul":
                return self._product(node, graph)
            case "Reshape":
                return self._reshape(node, graph)
            case _:
                return _is_by_row(node, graph) and graph.by_token(node, self, SUFFIX)

    def partner(self, name: str, rank: int, graph: Relayout) -> str | None:
        return self._rows(name, graph) if len(graph.shapes[name]) == rank else name

    def give_back(self, name: str, graph: Relayout) -> None:
        graph.new("Reshape", [graph.carried[name], graph.sizes(graph.shapes[name])], name)

    def _rows(self, name: str, graph: Relayout) -> str:
        if name not in graph.carried:
            sizes = graph.sizes([-1, graph.shapes[name][-1]])
            graph.carried[name] = graph.new("Reshape", [name, sizes], f"{name}_{SUFFIX}")
        return graph.carried[name]

    def _product(self, node: NodeProto, graph: Relayout) -> bool:
        source, weights = node.input
        shape = graph.shapes.get(source, ())
        if not graph.neighbours.is_weight(weights, 2) or not _is_matrix_to_be(shape):
            return False
        add = self._bias(node, graph)
        if add is None and source not in graph.carried:
            return False
        rows = self._rows(source, graph)
        made = node.output[0] if add is None else add.output[0]
        target = f"{made}_{SUFFIX}"
        if add is None:
            graph.new("MatMul", [rows, weights], target)
        else:
            graph.new("Gemm", [rows, weights, other(add, node.output[0])], target)
            self._added.add(made)
            self.n_biases += 1
        graph.carried[made] = target
        return True

    def _bias(self, product: NodeProto, graph: Relayout) -> NodeProto | None:
        """The Add of a bias to the product, if nothing else reads it."""
        add = graph.neighbours.only_reader(product.output[0], "Add")
        if add is None or not graph.neighbours.is_weight(other(add, product.output[0]), 1):
            return None
        return add

    def _reshape(self, node: NodeProto, graph: Relayout) -> bool:
        """From rows as from what they were; a matrix to be is made as rows at once."""
        after = graph.shapes.get(node.output[0], ())
        source = graph.carried.get(node.input[0], node.input[0])
        if _is_matrix_to_be(after):
            target = f"{node.output[0]}_{SUFFIX}"
            graph.new("Reshape", [source, graph.sizes([-1, after[-1]])], target)
            graph.carried[node.output[0]] = target
            return True
        if source == node.input[0] or not after or unknown_sizes(after) > 1:
            return False
        graph.new("Reshape", [source, graph.sizes(after)], node.output[0])
        return True


def _is_by_row(node: NodeProto, graph: Relayout) -> bool:
    """Whether every input has the rows of the output, or is one row for all: no other repeating."""
    after = graph.shapes.get(node.output[0], ())
    if not _is_matrix_to_be(after):
        return False
    before = [graph.shapes.get(name) for name in node.input]
    return all(
        one is not None and (len(one) <= 1 or (len(one) == RANK and _known(one[:2]) == _known(after[:2])))
        for one in before
    )


def _known(sizes: Sequence[int | str]) -> list[int | None]:
    """Without the names of the others: a graph has one size that is not known, the number of items."""
    return [size if isinstance(size, int) else None for size in sizes]


def _is_matrix_to_be(shape: Sequence[int | str]) -> bool:
    return len(shape) == RANK and unknown_sizes(shape[:2]) <= 1 and unknown_sizes(shape[2:]) == 0

"""Let tokens come before items, so that attention finds its heads where they lie; knows nothing of towers.

Attention multiplies a matrix (L, d) for each head of each item. In tokens (B, L, W) those of one item lie
together, and queries, keys and values are moved into (B, H, L, d) before. In (L, B, W) the matrices of all
heads and items are columns of one matrix with L rows, and a matrix product can skip from row to row: what
moves them is a transposition that onnxruntime takes into its product (FusedMatMul). Only what attention gives
is still moved, once. All else in a block treats tokens alike, so that their order says nothing there.

L must be known: B and L together cannot be told apart when a Reshape is to make them.
"""

import math
from collections.abc import Sequence

from onnx import GraphProto, NodeProto, helper

from diptych_training.export.optimise.relayout import Relayout, unknown_sizes

RANK = 3  # (B, L, W)
SUFFIX = "tokens_first"


def tokens_first(graph: GraphProto) -> int:
    """Rewrite in place; gives how many transpositions are left to products.

    The graph's shapes have been inferred. It is left as it is where more transpositions would be added.
    """
    layout, changed = _TokensFirst(), Relayout(graph)
    changed.through(layout)
    if layout.n_added >= layout.n_taken:
        return 0
    changed.write()
    return layout.n_taken


class _TokensFirst:
    """Values (B, L, ...) are carried as (L, B, ...)."""

    def __init__(self) -> None:
        self.n_taken = 0
        self.n_added = 0

    def carry(self, node: NodeProto, graph: Relayout) -> bool:
        match node.op_type:
            case "Reshape":
                return self._split(node, graph) or self._begin(node, graph)
            case "Transpose":
                return self._heads(node, graph) or self._is_to_begin(node, graph)
            case "MatMul":
                return self._product(node, graph)
            case "Gather":
                return self._pick(node, graph)
            case "Concat":
                return self._join(node, graph)
            case _:
                return graph.by_token(node, self, SUFFIX)

    def partner(self, name: str, rank: int, graph: Relayout) -> str | None:
        shape = graph.shapes.get(name)
        if shape is None:
            return None
        if len(shape) <= 1:
            return name
        if rank != RANK:
            return None
        if len(shape) == RANK - 1:  # (L, W), of each item alike
            return graph.new("Reshape", [name, graph.sizes([shape[0], 1, shape[1]])], f"{name}_{SUFFIX}")
        return self._turned(name, graph) if len(shape) == RANK else None

    def give_back(self, name: str, graph: Relayout) -> None:
        rank = len(graph.shapes[name])
        graph.new("Transpose", [graph.carried[name]], name, perm=[1, 0, *range(2, rank)])
        self.n_added += 1

    def _turned(self, name: str, graph: Relayout) -> str:
        if 1 not in graph.shapes[name][:2]:  # else nothing is moved
            self.n_added += 1
        return graph.new("Transpose", [name], f"{name}_{SUFFIX}", perm=[1, 0, 2])

    def _split(self, node: NodeProto, graph: Relayout) -> bool:
        """(B, L, W) to (B, L, H, d) or back: what is behind the tokens."""
        before, after = (graph.shapes.get(name, ()) for name in (node.input[0], node.output[0]))
        if node.input[0] not in graph.carried or not _are_tokens(after) or before[1] != after[1]:
            return False
        if unknown_sizes(before[2:]) or _count(before[2:]) != _count(after[2:]):
            return False
        self._reshaped(node, graph.carried[node.input[0]], graph)
        return True

    def _begin(self, node: NodeProto, graph: Relayout) -> bool:
        """(B, ..., W) to (B, L, W) behind a transposition, which may as well put the items behind the tokens.

        Its tokens may still lie in several axes, as patches do.
        """
        transposition = self._before(node, graph)
        if transposition is None:
            return False
        n_axes = _token_axes(graph.shapes[transposition.output[0]], graph.shapes[node.output[0]])
        perm = _perm(transposition)
        moved = [*perm[1 : 1 + n_axes], perm[0], *perm[1 + n_axes :]]
        source = f"{transposition.output[0]}_{SUFFIX}"
        graph.like(transposition, transposition.input, source, perm=moved)
        self._reshaped(node, source, graph)
        return True

    def _reshaped(self, node: NodeProto, source: str, graph: Relayout) -> None:
        _, n_tokens, *rest = graph.shapes[node.output[0]]
        target = f"{node.output[0]}_{SUFFIX}"
        graph.new("Reshape", [source, graph.sizes([n_tokens, -1, *rest])], target)
        graph.carried[node.output[0]] = target

    def _before(self, reshape: NodeProto, graph: Relayout) -> NodeProto | None:
        made = graph.neighbours.maker(reshape.input[0], "Transpose")
        return made if made is not None and self._is_to_begin(made, graph) else None

    def _is_to_begin(self, node: NodeProto, graph: Relayout) -> bool:
        """Whether a transposition is made by the Reshape behind it, when its turn comes."""
        if node.input[0] in graph.carried:
            return False
        reshape = graph.neighbours.only_reader(node.output[0], "Reshape")
        if reshape is None or reshape.input[0] != node.output[0]:
            return False
        before, after = (graph.shapes.get(name, ()) for name in (node.output[0], reshape.output[0]))
        return _are_tokens(after) and len(after) == RANK and _token_axes(before, after) > 0

    def _heads(self, node: NodeProto, graph: Relayout) -> bool:
        """(B, L, H, d) to what the products of attention read."""
        source = graph.carried.get(node.input[0])
        if source is None:
            return False
        swapped = [{0: 1, 1: 0}.get(axis, axis) for axis in _perm(node)]
        graph.like(node, [source], node.output[0], perm=swapped)
        self.n_taken += 1
        return True

    def _product(self, node: NodeProto, graph: Relayout) -> bool:
        source = graph.carried.get(node.input[0])
        if source is None or not graph.neighbours.is_weight(node.input[1], 2):
            return False
        target = f"{node.output[0]}_{SUFFIX}"
        graph.like(node, [source, node.input[1]], target)
        graph.carried[node.output[0]] = target
        return True

    def _pick(self, node: NodeProto, graph: Relayout) -> bool:
        """Tokens by their number: one without its axis is the same in either layout."""
        source, picked = graph.carried.get(node.input[0]), graph.shapes.get(node.input[1])
        if source is None or picked is None or len(picked) > 1 or _axis(node) != 1:
            return False
        target = node.output[0] if not picked else f"{node.output[0]}_{SUFFIX}"
        graph.like(node, [source, node.input[1]], target, axis=0)
        if picked:
            graph.carried[node.output[0]] = target
        return True

    def _join(self, node: NodeProto, graph: Relayout) -> bool:
        """More tokens."""
        ranks = {len(graph.shapes.get(name, ())) for name in node.input}
        if not any(name in graph.carried for name in node.input) or ranks != {RANK} or _axis(node) != 1:
            return False
        parts = [graph.carried.get(name) or self._turned(name, graph) for name in node.input]
        target = f"{node.output[0]}_{SUFFIX}"
        graph.like(node, parts, target, axis=0)
        graph.carried[node.output[0]] = target
        return True


def _are_tokens(shape: Sequence[int | str]) -> bool:
    """Whether it is (B, L, ...) with all but B known."""
    return len(shape) >= RANK and unknown_sizes(shape[:1]) == 1 and unknown_sizes(shape[1:]) == 0


def _token_axes(before: Sequence[int | str], after: Sequence[int | str]) -> int:
    """How many axes behind B a Reshape makes into the tokens of (B, L, W); 0 where it does something else."""
    if not before or unknown_sizes(before[:1]) != 1 or unknown_sizes(before[1:]):
        return 0
    for n_axes in range(1, len(before) - 1):
        if _count(before[1 : 1 + n_axes]) == after[1] and _count(before[1 + n_axes :]) == after[2]:
            return n_axes
    return 0


def _count(sizes: Sequence[int | str]) -> int:
    return math.prod(int(size) for size in sizes)


def _axis(node: NodeProto) -> int:
    return next((int(one.i) for one in node.attribute if one.name == "axis"), 0)


def _perm(node: NodeProto) -> list[int]:
    for one in node.attribute:
        if one.name == "perm":
            return [int(axis) for axis in helper.get_attribute_value(one)]
    raise AssertionError(f"{node.name} does not say how it turns its axes")

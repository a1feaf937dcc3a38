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


def tokens_first(graph: GraphProto) -> int:
    """Rewrite in place; gives how many transpositions are left to products.

    The graph's shapes have been inferred. It is left as it is where as many transpositions would be added.
    """
    changed = _TokensFirst(graph)
    changed.go_through()
    if changed.n_added >= changed.n_taken:
        return 0
    changed.write()
    return changed.n_taken


class _TokensFirst(Relayout):
    """Values (B, L, ...) are carried as (L, B, ...)."""

    suffix = "tokens_first"

    def __init__(self, graph: GraphProto) -> None:
        super().__init__(graph)
        self.n_taken = 0
        self.n_added = 0

    def carry(self, node: NodeProto) -> bool:
        match node.op_type:
            case "Reshape":
                return self._split(node) or self._begin(node)
            case "Transpose":
                return self._heads(node) or self._is_to_begin(node)
            case "MatMul":
                return self._product(node)
            case "Gather":
                return self._pick(node)
            case "Concat":
                return self._join(node)
            case _:
                return self.by_token(node)

    def partner(self, name: str, rank: int) -> str | None:
        shape = self.shapes.get(name)
        if shape is None:
            return None
        if len(shape) <= 1:
            return name
        if rank != RANK or unknown_sizes(shape) > 1:
            return None
        if len(shape) == RANK - 1:  # (L, W), of each item alike
            size = self.size([shape[0], 1, shape[1]])
            return self.new("Reshape", [name, size], f"{name}_{self.suffix}")
        return self._turned(name) if len(shape) == RANK else None

    def give_back(self, name: str) -> None:
        self._count_added(name)
        rank = len(self.shapes[name])
        self.new("Transpose", [self.carried[name]], name, perm=[1, 0, *range(2, rank)])

    def _turned(self, name: str) -> str:
        self._count_added(name)
        return self.new("Transpose", [name], f"{name}_{self.suffix}", perm=[1, 0, 2])

    def _count_added(self, name: str) -> None:
        self.n_added += 1 not in self.shapes[name][:2]  # else nothing is moved

    def _split(self, node: NodeProto) -> bool:
        """(B, L, W) to (B, L, H, d) or back: what is behind the tokens."""
        before, after = (self.shapes.get(name, ()) for name in (node.input[0], node.output[0]))
        if node.input[0] not in self.carried or not _are_tokens(after) or before[1] != after[1]:
            return False
        if unknown_sizes(before[2:]) or _count(before[2:]) != _count(after[2:]):
            return False
        self._reshaped(node, self.carried[node.input[0]])
        return True

    def _begin(self, node: NodeProto) -> bool:
        """(B, ..., W) to (B, L, W) behind a transposition, which may as well put the items behind the tokens.

        Its tokens may still lie in several axes, as patches do.
        """
        transposition = self.neighbours.maker(node.input[0], "Transpose")
        if transposition is None or not self._is_to_begin(transposition):
            return False
        made = transposition.output[0]
        n_axes = _token_axes(self.shapes[made], self.shapes[node.output[0]])
        perm = self._perm(transposition)
        moved = [*perm[1 : 1 + n_axes], perm[0], *perm[1 + n_axes :]]
        source = f"{made}_{self.suffix}"
        self.like(transposition, transposition.input, [source], perm=moved)
        self._reshaped(node, source)
        return True

    def _reshaped(self, node: NodeProto, source: str) -> None:
        _, n_tokens, *rest = self.shapes[node.output[0]]
        size = self.size([n_tokens, -1, *rest])
        self.new("Reshape", [source, size], self.carried_as(node.output[0]))

    def _is_to_begin(self, node: NodeProto) -> bool:
        """Whether a transposition is made by the Reshape behind it, when its turn comes."""
        if node.input[0] in self.carried:
            return False
        reshape = self.neighbours.only_reader(node.output[0], "Reshape")
        if reshape is None or reshape.input[0] != node.output[0]:
            return False
        before, after = (self.shapes.get(name, ()) for name in (node.output[0], reshape.output[0]))
        return _are_tokens(after) and len(after) == RANK and _token_axes(before, after) > 0

    def _heads(self, node: NodeProto) -> bool:
        """(B, L, H, d) to what the products of attention read."""
        source = self.carried.get(node.input[0])
        if source is None:
            return False
        swapped = [{0: 1, 1: 0}.get(axis, axis) for axis in self._perm(node)]
        self.like(node, [source], node.output, perm=swapped)
        readers = self.neighbours.readers(node.output[0])
        self.n_taken += {reader.op_type for reader in readers} == {"MatMul"}
        return True

    def _product(self, node: NodeProto) -> bool:
        source = self.carried.get(node.input[0])
        if source is None or not self.neighbours.is_weight(node.input[1], 2):
            return False
        self.like(node, [source, node.input[1]], [self.carried_as(node.output[0])])
        return True

    def _pick(self, node: NodeProto) -> bool:
        """Tokens by their number: one without its axis is the same in either layout."""
        source, picked = self.carried.get(node.input[0]), self.shapes.get(node.input[1])
        if source is None or picked is None or len(picked) > 1 or _axis(node) != 1:
            return False
        target = self.carried_as(node.output[0]) if picked else node.output[0]
        self.like(node, [source, node.input[1]], [target], axis=0)
        return True

    def _join(self, node: NodeProto) -> bool:
        """More tokens."""
        ranks = {len(self.shapes.get(name, ())) for name in node.input}
        if not any(name in self.carried for name in node.input) or ranks != {RANK} or _axis(node) != 1:
            return False
        parts = [self.carried.get(name) or self._turned(name) for name in node.input]
        self.like(node, parts, [self.carried_as(node.output[0])], axis=0)
        return True

    def _perm(self, node: NodeProto) -> list[int]:
        """Where it is not said, axes are turned around."""
        for one in node.attribute:
            if one.name == "perm":
                return [int(axis) for axis in helper.get_attribute_value(one)]
        return [*reversed(range(len(self.shapes[node.output[0]])))]


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

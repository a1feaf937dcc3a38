"""Let only the pooled token ask in the last block's attention; knows nothing of weights.

Where a tower is pooled at one fixed token, as CLIP's image tower is at its class token, the last attention is
computed for every token as the one that asks, and then all rows but one are thrown away. What leads from the
block's input to that row (the queries, their products with the keys, the softmax, the sum of the values)
treats each asking token alike, so the row may be taken before: the same sums, for fewer rows.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, helper, numpy_helper

from diptych_training.export.optimise.shapes import Shape, shapes_of

POOLED_AXIS = 1  # of (B, L, W)
SCALINGS = frozenset({"Mul", "Div", "Add", "Sub"})


@dataclass
class _Way:
    """From the pooling up to `source`, whose rows are to be taken along `axis`."""

    source: str
    axis: int
    nodes: list[NodeProto] = field(default_factory=list)
    shapes: dict[str, list[int]] = field(default_factory=dict)  # by output: what a Reshape on it is to make
    n_products: int = 0


def attend_first(graph: GraphProto) -> int:
    """Move poolings before the attention, in place; gives how many matrix products have fewer rows.

    The graph's shapes have been inferred. It is left as it is when no matrix product would have fewer rows.
    """
    n_products = 0
    for pooling in [node for node in graph.node if node.op_type == "Gather"]:
        walker = _Walker(graph)
        way = walker.up(pooling)
        if way is not None and way.n_products:
            _take_before(graph, pooling, way, walker.index(pooling.input[1]))
            n_products += way.n_products
    if n_products:
        del graph.value_info[:]  # the rows on the way have gone
    return n_products


class _Walker:
    """Follows one row against the direction of the graph, as long as it alone is needed."""

    def __init__(self, graph: GraphProto) -> None:
        self._shapes: dict[str, Shape] = shapes_of(graph)
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output}
        self._n_readers: dict[str, int] = dict.fromkeys((port.name for port in graph.output), 1)
        for node in graph.node:
            for name in node.input:
                self._n_readers[name] = self._n_readers.get(name, 0) + 1

    def index(self, name: str) -> NDArray[np.int64]:
        """The token that is pooled, as () or (1,)."""
        return numpy_helper.to_array(self._weights[name]).astype(np.int64)

    def up(self, pooling: NodeProto) -> _Way | None:
        """As far as it goes; None where this Gather is no pooling at one fixed token."""
        axis = next((one.i for one in pooling.attribute if one.name == "axis"), 0)
        fixed = pooling.input[1] in self._weights and self._shapes[pooling.input[1]] in ((), (1,))
        if axis != POOLED_AXIS or not fixed or len(self._shapes.get(pooling.input[0], ())) != 3:
            return None
        way = _Way(pooling.input[0], axis)
        while self._step(way):
            pass
        return way

    def _step(self, way: _Way) -> bool:
        node = self._makers.get(way.source)
        if node is None or self._n_readers[way.source] != 1 or way.source not in self._shapes:
            return False
        before, after = self._shapes.get(node.input[0]), self._shapes[way.source]
        axis = None if before is None else self._axis_before(way, node, before, after)
        if axis is None:
            return False
        way.n_products += node.op_type == "MatMul"
        way.nodes.append(node)
        way.source, way.axis = node.input[0], axis
        return True

    def _axis_before(self, way: _Way, node: NodeProto, before: Shape, after: Shape) -> int | None:
        """The axis of the first input whose rows become those of the output, or None: not row by row."""
        last = len(after) - 1
        if node.op_type == "Transpose":
            perm = next((one.ints for one in node.attribute if one.name == "perm"), None)
            return None if perm is None else int(perm[way.axis])
        if node.op_type == "Softmax":
            axis = next((one.i for one in node.attribute if one.name == "axis"), -1)
            return None if axis % len(after) == way.axis else way.axis
        if node.op_type == "MatMul":
            return way.axis if way.axis == last - 1 and len(before) == len(after) else None
        if node.op_type in SCALINGS:
            rank = len(self._shapes[node.input[1]]) if node.input[1] in self._weights else len(after)
            return way.axis if rank <= 1 and way.axis != last and len(before) == len(after) else None
        if node.op_type == "Reshape":
            return self._through_reshape(way, node, before, after)
        return None

    def _through_reshape(self, way: _Way, node: NodeProto, before: Shape, after: Shape) -> int | None:
        """(B, L, H, d) to (B, L, W) or back: what follows the tokens is split or joined, they stay."""
        if node.input[1] not in self._weights or way.axis != 1 or before[1] != after[1]:
            return None
        asked = [int(size) for size in numpy_helper.to_array(self._weights[node.input[1]])]
        same_size = _size(before[2:]) == _size(after[2:]) is not None
        if asked[0] != -1 or asked[1] != after[1] or not same_size:
            return None
        way.shapes[node.output[0]] = [-1, 1, *asked[2:]]
        return 1


def _take_before(graph: GraphProto, pooling: NodeProto, way: _Way, index: NDArray[np.int64]) -> None:
    taken = f"{way.source}_asking"
    row = _constant(graph, f"{taken}_row", index.reshape(1))  # keeps the axis, with one row
    first = _constant(graph, f"{taken}_first", np.zeros_like(index))
    top = way.nodes[-1]
    top.input[0] = taken
    for node in way.nodes:
        if node.output[0] in way.shapes:
            shape = np.array(way.shapes[node.output[0]], np.int64)
            node.input[1] = _constant(graph, f"{node.output[0]}_asking", shape)
    pooling.input[1] = first
    nodes = list(graph.node)
    place = next(at for at, node in enumerate(nodes) if node is top)
    nodes.insert(place, helper.make_node("Gather", [way.source, row], [taken], name=taken, axis=way.axis))
    del graph.node[:]
    graph.node.extend(nodes)


def _size(shape: Shape) -> int | None:
    """Of one token; None where a size is not known."""
    known = [size for size in shape if isinstance(size, int)]
    return math.prod(known) if len(known) == len(shape) else None


def _constant(graph: GraphProto, name: str, value: NDArray[np.int64]) -> str:
    graph.initializer.append(numpy_helper.from_array(value, name))
    return name

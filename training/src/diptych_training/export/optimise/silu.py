"""Take the factor out of QuickGELU, so that SiLU is left; knows nothing of towers.

QuickGELU is ``x * sigmoid(1.702 x)`` between two matrix products. With ``y = 1.702 x`` it is
``y * sigmoid(y) / 1.702``, and both factors go into the weights once: that of y into those before, with their
bias, its inverse into those behind. That saves a pass over the widest values of a block.
"""

from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, NodeProto, numpy_helper

from diptych_training.export.optimise.neighbours import Neighbours, other


@dataclass(frozen=True)
class _Gated:
    """``x * sigmoid(factor * x)`` with the weights around it, all of which only it reads."""

    scaling: NodeProto
    sigmoid: NodeProto
    x: str
    factor: float
    before: tuple[str, ...]
    behind: str


def quick_gelu_as_silu(graph: GraphProto) -> int:
    """Take factors out, in place; gives how many. What has no products with weights on both sides stays."""
    neighbours = Neighbours(graph)
    sigmoids = [node for node in graph.node if node.op_type == "Sigmoid"]
    found = [gated for node in sigmoids if (gated := _gated(neighbours, node)) is not None]
    for gated in found:
        gated.sigmoid.input[0] = gated.x
        graph.node.remove(gated.scaling)
        for name in gated.before:
            _multiply(graph, name, gated.factor)
        _multiply(graph, gated.behind, 1 / gated.factor)
    if found:
        _drop_unread_weights(graph)
    return len(found)


def _gated(neighbours: Neighbours, sigmoid: NodeProto) -> _Gated | None:
    scaling = neighbours.maker(sigmoid.input[0], "Mul")
    gate = neighbours.only_reader(sigmoid.output[0], "Mul")
    if scaling is None or gate is None or len(neighbours.readers(scaling.output[0])) != 1:
        return None
    x = other(gate, sigmoid.output[0])
    factor = other(scaling, x)
    if x not in scaling.input or not neighbours.is_weight(factor, 0) or len(neighbours.readers(x)) != 2:
        return None
    before, behind = _before(neighbours, x), _behind(neighbours, gate.output[0])
    if before is None or behind is None or not neighbours.array(factor) > 0:
        return None
    return _Gated(scaling, sigmoid, x, float(neighbours.array(factor)), before, behind)


def _before(neighbours: Neighbours, x: str) -> tuple[str, ...] | None:
    """The weights and the bias whose product and sum is x."""
    add = neighbours.maker(x, "Add")
    if add is None:
        return None
    for product, bias in (add.input, reversed(add.input)):
        made = neighbours.maker(product, "MatMul")
        if made is not None and len(neighbours.readers(product)) == 1 and neighbours.is_weight(bias, 1):
            found = (str(made.input[1]), str(bias))
            return found if _are_its_own(neighbours, *found) and neighbours.is_weight(found[0], 2) else None
    return None


def _behind(neighbours: Neighbours, gated: str) -> str | None:
    """The weights of the one product that reads it."""
    product = neighbours.only_reader(gated, "MatMul")
    if product is None or product.input[0] != gated or not neighbours.is_weight(product.input[1], 2):
        return None
    weights = str(product.input[1])
    return weights if _are_its_own(neighbours, weights) else None


def _are_its_own(neighbours: Neighbours, *weights: str) -> bool:
    return all(len(neighbours.readers(name)) == 1 for name in weights)


def _multiply(graph: GraphProto, name: str, factor: float) -> None:
    (tensor,) = (one for one in graph.initializer if one.name == name)
    product = numpy_helper.to_array(tensor).astype(np.float64) * factor
    tensor.CopyFrom(numpy_helper.from_array(product.astype(np.float32), name))


def _drop_unread_weights(graph: GraphProto) -> None:
    read = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)

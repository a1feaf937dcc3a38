"""Give wide values a cache line more to a row, so that rows do not push each other out; knows no towers.

A matrix product reads a dozen rows at a time. A row of 1,024 float32 is as long as a way of the first cache
(4 KiB: 64 sets with lines of 64 bytes), so that rows of a multiple of it begin in the same set, and the dozen
want the same few lines of it, which they may have to share with another process on the core. The values
between the two products of a feed-forward part are such rows. Their width is free: columns of zeros in the
weights before, and rows of zeros in those behind, change no sum.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, numpy_helper

from diptych_training.export.optimise.neighbours import Neighbours, other
from diptych_training.export.optimise.relayout import BINARY, UNARY

PAGE = 1024  # float32 in 4 KiB
LINE = 16  # float32 in 64 bytes
PRODUCTS = frozenset({"MatMul", "Gemm"})
Constant = tuple[NodeProto, int, int]  # an input of a node, and the axis along which it grows


@dataclass
class _Wide:
    """Values of one width, all by element from one product."""

    width: int
    values: set[str] = field(default_factory=set)
    constants: list[Constant] = field(default_factory=list)


def wider_rows(graph: GraphProto) -> int:
    """Rewrite in place; gives how many widths have grown.

    Those that are a multiple of 4 KiB, and that only operators by element and products with weights read.
    """
    neighbours = Neighbours(graph)
    found = [wide for node in graph.node if (wide := _wide(neighbours, node)) is not None]
    added: dict[str, NDArray[np.float32]] = {}
    for node, index, axis in [constant for wide in found for constant in wide.constants]:
        name = f"{node.input[index]}_wider_{axis}"
        array = neighbours.array(node.input[index])
        added[name] = np.pad(array, [(0, LINE if one == axis else 0) for one in range(array.ndim)])
        node.input[index] = name
    if found:
        read = {name for node in graph.node for name in node.input}
        kept = [tensor for tensor in graph.initializer if tensor.name in read]
        del graph.initializer[:], graph.value_info[:]
        graph.initializer.extend(kept)
        graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in added.items())
    return len(found)


def _wide(neighbours: Neighbours, product: NodeProto) -> _Wide | None:
    """What comes of a product, if it is of such a width and nothing needs it to stay."""
    if not _has_weights(neighbours, product):
        return None
    width = neighbours.array(product.input[1]).shape[1]
    if width % PAGE:
        return None
    wide = _Wide(width, set(product.output))
    wide.constants = [(product, 1, 1), *((product, 2, 0) for _ in product.input[2:])]
    todo = list(product.output)
    while todo:
        for reader in neighbours.readers(todo.pop()):
            if reader.op_type in UNARY | BINARY and reader.output[0] not in wide.values:
                wide.values.add(reader.output[0])
                todo.append(reader.output[0])
    readers = {name: neighbours.readers(name) for name in wide.values}
    if not all(readers.values()):  # an output of the graph has none
        return None
    # A node that reads two of them is asked once.
    asked = {id(node): node for nodes in readers.values() for node in nodes}
    return wide if all(_may_grow(neighbours, node, wide) for node in asked.values()) else None


def _may_grow(neighbours: Neighbours, node: NodeProto, wide: _Wide) -> bool:
    """Whether a reader takes a width that is larger; notes which of its constants have to grow for that."""
    if node.op_type in PRODUCTS:
        wide.constants.append((node, 1, 0))
        return _has_weights(neighbours, node) and node.input[1] not in wide.values
    if node.op_type in UNARY:
        return True
    if node.op_type not in BINARY:
        return False
    for index, name in enumerate(node.input):
        if name in wide.values or neighbours.is_weight(name, 0):
            continue
        if not _is_row(neighbours, name, wide.width):
            return False
        wide.constants.append((node, index, 0))
    # Zeros are divided by nothing that has grown, too, which would be zero.
    return node.op_type != "Div" or neighbours.is_weight(other(node, node.input[0]), 0)


def _has_weights(neighbours: Neighbours, node: NodeProto) -> bool:
    """Whether it is a product with a matrix (K, N) and, if at all, a bias (N,)."""
    turned = any(one.name in ("transA", "transB") and one.i for one in node.attribute)
    if node.op_type not in PRODUCTS or turned or not neighbours.is_weight(node.input[1], 2):
        return False
    width = neighbours.array(node.input[1]).shape[1]
    return all(_is_row(neighbours, name, width) for name in node.input[2:])


def _is_row(neighbours: Neighbours, name: str, width: int) -> bool:
    return neighbours.is_weight(name, 1) and neighbours.array(name).shape == (width,)

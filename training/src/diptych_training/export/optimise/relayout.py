"""Carry values of a graph in another layout than it says; knows no layout.

A layout says for each operator how it works on values as they are carried. Where an operator does not, its
inputs are given back as the graph has them.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from onnx import GraphProto, NodeProto, helper, numpy_helper

from diptych_training.export.optimise.neighbours import Neighbours, has_graphs_inside
from diptych_training.export.optimise.shapes import Shape, shapes_of

UNARY = frozenset({"Gelu", "Sigmoid", "Relu", "Tanh", "Erf", "HardSwish", "Identity", "Neg", "Cast"})
BINARY = frozenset({"Add", "Sub", "Mul", "Div"})
ALONG_AXIS = frozenset({"LayerNormalization", "Split"})  # which of their axes has to be the last
DOMAINS = ("", "ai.onnx")


class Relayout(ABC):
    """A graph on its way into another layout, whose shapes have been inferred; it itself is left as it is."""

    suffix: ClassVar[str]  # of the names of values as they are carried

    def __init__(self, graph: GraphProto) -> None:
        self.shapes: dict[str, Shape] = shapes_of(graph)
        self.neighbours = Neighbours(graph)
        self.carried: dict[str, str] = {}  # a value's name -> its name as it is carried
        self._graph = graph
        self._nodes: list[NodeProto] = []
        self._there = {one.name for one in (*graph.input, *graph.initializer)}
        self._sizes: dict[str, list[int]] = {}

    @abstractmethod
    def carry(self, node: NodeProto) -> bool:
        """Add what does the node's work on carried values, and say that it did; or add nothing."""

    @abstractmethod
    def partner(self, name: str, rank: int) -> str | None:
        """A value that is not carried, as it goes together with carried ones in an operator by element.

        `rank` is that of what they make; None where it is not known how.
        """

    @abstractmethod
    def give_back(self, name: str) -> None:
        """Add the node that makes a carried value as the graph has it, under its own name."""

    def go_through(self) -> None:
        """Every node in turn; none where one has a graph inside it."""
        if has_graphs_inside(self._graph):
            return
        for node in self._graph.node:
            if not self.carry(node):
                self._ask_back(node.input)
                self.add(node)
        self._ask_back([port.name for port in self._graph.output])

    def write(self) -> None:
        """Put what was made into the graph."""
        read = {name for node in self._nodes for name in node.input}
        known = {tensor.name for tensor in self._graph.initializer}  # sizes of another layout among them
        sizes = {name: np.array(size) for name, size in self._sizes.items() if name not in known}
        constants = [numpy_helper.from_array(size, name) for name, size in sizes.items()]
        kept = [tensor for tensor in [*self._graph.initializer, *constants] if tensor.name in read]
        del self._graph.node[:], self._graph.initializer[:], self._graph.value_info[:]
        self._graph.node.extend(self._nodes)
        self._graph.initializer.extend(kept)

    def add(self, node: NodeProto) -> None:
        """The next node."""
        self._nodes.append(node)
        self._there.update(node.output)

    def new(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node with one output, which is named like it, unless it is there already."""
        if output not in self._there:
            self.add(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def like(self, node: NodeProto, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
        """Add the same operator with other inputs and outputs, and with some other attributes."""
        kept = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        self.add(helper.make_node(node.op_type, inputs, outputs, name=outputs[0], **kept | attributes))

    def carried_as(self, name: str) -> str:
        """The name under which a value is carried from here on."""
        self.carried[name] = f"{name}_{self.suffix}"
        return self.carried[name]

    def size(self, sizes: Sequence[int | str]) -> str:
        """The constant with which a Reshape makes this shape, in which one size may be unknown."""
        known = [size if isinstance(size, int) else -1 for size in sizes]
        name = "shape_" + "x".join("n" if size < 0 else str(size) for size in known)
        self._sizes[name] = known
        return name

    def by_token(self, node: NodeProto) -> bool:
        """Carry an operator that treats every token alike, or every element, if one of its inputs is."""
        binary, along = node.op_type in BINARY, node.op_type in ALONG_AXIS and self._is_along_last(node)
        if not (binary or along or node.op_type in UNARY) or node.domain not in DOMAINS:
            return False
        values = list(node.input) if binary else [node.input[0]]
        if not any(name in self.carried for name in values):
            return False
        rank = len(self.shapes.get(node.output[0], ()))
        found = [self.carried.get(name) or self.partner(name, rank) for name in values]
        together = [name for name in found if name is not None]
        if len(together) < len(found):
            return False
        last = {"axis": -1} if along else {}  # which is another number where axes are fewer
        others = node.input[len(values) :]
        self.like(node, [*together, *others], [self.carried_as(name) for name in node.output], **last)
        return True

    def _is_along_last(self, node: NodeProto) -> bool:
        default = -1 if node.op_type == "LayerNormalization" else 0
        axis = next((one.i for one in node.attribute if one.name == "axis"), default)
        return axis in (-1, len(self.shapes.get(node.input[0], ())) - 1)

    def _ask_back(self, names: Sequence[str]) -> None:
        for name in names:
            if name in self.carried and name not in self._there:
                self.give_back(name)


def unknown_sizes(shape: Sequence[int | str]) -> int:
    """How many sizes are not known before a batch comes."""
    return sum(not isinstance(size, int) for size in shape)

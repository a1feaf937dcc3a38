"""Who makes and who reads the values of a graph, and which are weights; changes nothing."""

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, numpy_helper


class Neighbours:
    """Of a graph as it is now: what is changed afterwards is not seen."""

    def __init__(self, graph: GraphProto) -> None:
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output}
        self._outputs = frozenset(port.name for port in graph.output)
        self._readers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def maker(self, name: str, operator: str) -> NodeProto | None:
        """What makes a value, if it is such an operator."""
        node = self._makers.get(name)
        return node if node is not None and node.op_type == operator else None

    def readers(self, name: str) -> list[NodeProto]:
        """One node for each time that it is read; none of a value that is an output, too."""
        return [] if name in self._outputs else self._readers.get(name, [])

    def only_reader(self, name: str, operator: str) -> NodeProto | None:
        """What alone reads a value, once, if it is such an operator."""
        readers = self.readers(name)
        return readers[0] if len(readers) == 1 and readers[0].op_type == operator else None

    def is_weight(self, name: str, rank: int) -> bool:
        """Whether it is a float32 constant with so many axes."""
        tensor = self._weights.get(name)
        return tensor is not None and tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == rank

    def array(self, name: str) -> NDArray[np.float32]:
        """The value of a weight."""
        return numpy_helper.to_array(self._weights[name])


def other(node: NodeProto, name: str) -> str:
    """Of a node with two inputs, the one that is not `name`; `name` where both are."""
    return str(node.input[1] if node.input[0] == name else node.input[0])


def has_graphs_inside(graph: GraphProto) -> bool:
    """Whether a node has a graph of its own, which may read any value unseen."""
    return any(attribute.HasField("g") for node in graph.node for attribute in node.attribute)

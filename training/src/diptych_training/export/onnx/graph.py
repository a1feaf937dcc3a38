"""Index an ONNX graph: producer, readers, shape and constant of each value; and build changed copies."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

CONTRIB = "com.microsoft"  # onnxruntime's own operators
Floats = NDArray[np.float32]
Shape = tuple[int | str, ...]  # sizes, or names of unknown sizes


@dataclass(frozen=True)
class Rewrite:
    """A replacement for some nodes: `nodes` go where the first replaced node was."""

    replaces: frozenset[str]  # names of nodes
    nodes: tuple[NodeProto, ...]
    constants: tuple[TensorProto, ...]


class Graph:
    """Read-only index of a model whose nodes are in topological order."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.outputs = {value.name for value in model.graph.output}
        self.inputs = {value.name: value for value in model.graph.input}
        self.node = {node.name: node for node in self.nodes}  # where names are unique
        self.producer = {name: node for node in self.nodes for name in node.output}
        self._readers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in set(names_read(node)):
                self._readers[name].append(node)

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Shapes of all constants and of all values with an inferred shape."""
        graph = self.model.graph
        ports = chain(graph.input, graph.value_info, graph.output)
        known = {port.name: _shape(port) for port in ports if port.type.tensor_type.HasField("shape")}
        return known | {name: tuple(tensor.dims) for name, tensor in self.constants.items()}

    def array(self, name: str) -> Floats:
        """The value of a float constant."""
        return numpy_helper.to_array(self.constants[name]).astype(np.float32, copy=False)

    def is_float_constant(self, name: str, rank: int) -> bool:
        """True if a tensor is a float32 constant of this rank."""
        tensor = self.constants.get(name)
        return tensor is not None and tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == rank

    def readers(self, name: str) -> list[NodeProto]:
        """The nodes that read a tensor, each once."""
        return self._readers.get(name, [])

    def only_reader(self, name: str) -> NodeProto | None:
        """The one node that reads a tensor; None if there are several, or it is an output of the graph."""
        readers = self.readers(name)
        return readers[0] if len(readers) == 1 and name not in self.outputs else None


def _shape(port: ValueInfoProto) -> Shape:
    """The shape; an unknown size without a name gets a unique one, so that it equals no other."""
    return tuple(
        size.dim_value if size.HasField("dim_value") else size.dim_param or f"{port.name}[{axis}]"
        for axis, size in enumerate(port.type.tensor_type.shape.dim)
    )


def names_read(node: NodeProto) -> Iterator[str]:
    """Every tensor that a node reads, also inside its subgraphs."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for subgraph in [attribute.g, *attribute.graphs]:
            for inner in subgraph.node:
                yield from names_read(inner)


def attributes(node: NodeProto) -> dict[str, Any]:
    """The attributes of a node by name, as Python values."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def other(node: NodeProto, name: str) -> str:
    """The input of a two-input node that is not `name`; `name` if both are."""
    return str(node.input[1] if node.input[0] == name else node.input[0])


def rewired(node: NodeProto, inputs: Sequence[str], outputs: Sequence[str], **changes: Any) -> NodeProto:
    """A copy with other inputs, outputs and attributes."""
    kept = attributes(node) | changes
    return helper.make_node(node.op_type, inputs, outputs, node.name, domain=node.domain, **kept)


def constant(name: str, value: NDArray[np.generic] | np.generic) -> TensorProto:
    """A named constant; the type is the array's."""
    return numpy_helper.from_array(np.ascontiguousarray(value).reshape(np.shape(value)), name)


def rebuilt(graph: Graph, nodes: list[NodeProto], constants: list[TensorProto]) -> ModelProto:
    """A model with the graph's signature and other nodes; unused nodes and constants are removed."""
    nodes, read = _needed(nodes, graph.outputs)
    everything = {**graph.constants, **{tensor.name: tensor for tensor in constants}}
    model = ModelProto()
    model.ir_version = graph.model.ir_version
    model.producer_name = graph.model.producer_name
    model.graph.name = graph.model.graph.name
    model.graph.input.extend(graph.model.graph.input)
    model.graph.output.extend(graph.model.graph.output)
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(tensor for name, tensor in everything.items() if name in read)
    domains = {node.domain for node in nodes}
    opsets = {opset.domain: opset.version for opset in graph.model.opset_import}
    opsets.setdefault(CONTRIB, 1)
    model.opset_import.extend(
        helper.make_opsetid(domain, version)
        for domain, version in opsets.items()
        if domain in domains | {"", "ai.onnx"}
    )
    return model


def _needed(nodes: list[NodeProto], outputs: set[str]) -> tuple[list[NodeProto], set[str]]:
    """The nodes that the outputs depend on, in the same order, and every tensor that they read."""
    read, kept = set(outputs), []
    for node in reversed(nodes):
        if not read.isdisjoint(node.output):
            kept.append(node)
            read.update(names_read(node))
    return kept[::-1], read


def with_outputs(graph: Graph, names: list[str]) -> ModelProto:
    """The model with additional float32 outputs of unspecified shape."""
    model = rebuilt(graph, graph.nodes, [])
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    return model

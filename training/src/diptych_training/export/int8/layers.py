"""Find the layers of a graph that can be int8, and the forms that each can have."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from onnx import NodeProto

from diptych_training.export.onnx.graph import Graph
from diptych_training.export.onnx.patterns import Linear, PatchEmbedding, find_linear, find_patch_embedding

Form = Literal["static", "rows", "weights", "float"]
MIN_TABLE_VALUES = 1 << 16  # quantising a smaller table saves too little


@dataclass(frozen=True)
class MatMulGroup:
    """Matrix products with the same input, which is quantised once for all of them (query, key, value).

    `of_probabilities`: the input is that of a softmax. Eight bits keep its largest values only, whose scale
    differs from row to row, and lose the many small ones.
    """

    name: str
    source: str
    linears: tuple[Linear, ...]
    of_probabilities: bool = False


@dataclass(frozen=True)
class Convolution:
    """One convolution with constant weights."""

    name: str


@dataclass(frozen=True)
class EmbeddingTable:
    """A Gather of rows from a large constant, such as token embeddings."""

    name: str


Layer = MatMulGroup | Convolution | EmbeddingTable | PatchEmbedding


def find_layers(graph: Graph) -> list[Layer]:
    """All layers that can be int8, in the order of the graph."""
    products: dict[str, list[Linear]] = defaultdict(list)
    layers: list[Layer | str] = []  # a product stands as its source until all that read it are known
    for node in graph.nodes:
        linear = find_linear(graph, node)
        if linear is not None:
            if linear.source not in products:
                layers.append(linear.source)
            products[linear.source].append(linear)
        else:
            layers += _other_layer(graph, node)
    return [
        layer if not isinstance(layer, str) else _group(graph, layer, products[layer]) for layer in layers
    ]


def _group(graph: Graph, source: str, linears: Sequence[Linear]) -> MatMulGroup:
    producer = graph.producer.get(source)
    of_probabilities = producer is not None and producer.op_type == "Softmax"
    return MatMulGroup(linears[0].nodes[0], source, tuple(linears), of_probabilities)


def forms_of(layer: Layer) -> Sequence[Form]:
    """The forms of a site from the fastest to the most exact."""
    if not isinstance(layer, MatMulGroup):
        return ("static", "float")
    return ("weights", "float") if layer.of_probabilities else ("static", "rows", "float")


def _other_layer(graph: Graph, node: NodeProto) -> list[Layer]:
    if node.domain not in ("", "ai.onnx"):
        return []
    if node.op_type == "Conv" and graph.is_float_constant(node.input[1], rank=4):
        bias_known = len(node.input) < 3 or graph.is_float_constant(node.input[2], rank=1)
        patches = find_patch_embedding(graph, node)
        return [patches] if patches else [Convolution(node.name)] if bias_known else []
    if node.op_type == "Gather" and graph.is_float_constant(node.input[0], rank=2):
        rows, width = graph.constants[node.input[0]].dims
        by_row = all(attribute.i == 0 for attribute in node.attribute if attribute.name == "axis")
        return [EmbeddingTable(node.name)] if by_row and rows * width >= MIN_TABLE_VALUES else []
    return []

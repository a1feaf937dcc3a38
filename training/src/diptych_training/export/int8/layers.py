"""Which layers of a graph can be int8, and how each can be; knows nothing of scales."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from onnx import NodeProto

from diptych_training.export.onnx.graph import Graph
from diptych_training.export.onnx.linear import Linear, find_linear
from diptych_training.export.onnx.patches import Patches, find_patches

Form = Literal["static", "rows", "float"]
MIN_TABLE_VALUES = 1 << 16  # a smaller table is no weight worth saving


@dataclass(frozen=True)
class Products:
    """Matrix products that read one tensor, which is quantised once for all of them (query, key, value)."""

    name: str
    source: str
    linears: tuple[Linear, ...]


@dataclass(frozen=True)
class Convolution:
    """One convolution with constant weights."""

    name: str


@dataclass(frozen=True)
class Table:
    """A Gather of rows from a large constant: token embeddings."""

    name: str


Site = Products | Convolution | Table | Patches


def find_sites(graph: Graph) -> list[Site]:
    """All of them, in the order of the graph."""
    products: dict[str, list[Linear]] = defaultdict(list)
    sites: list[Site | str] = []  # a product stands as its source until all that read it are known
    for node in graph.nodes:
        linear = find_linear(graph, node)
        if linear is not None:
            if linear.source not in products:
                sites.append(linear.source)
            products[linear.source].append(linear)
        else:
            sites += _other_site(graph, node)
    return [
        site
        if not isinstance(site, str)
        else Products(products[site][0].nodes[0], site, tuple(products[site]))
        for site in sites
    ]


def ladder(site: Site) -> Sequence[Form]:
    """The forms of a site from the fastest to the most exact."""
    return ("static", "rows", "float") if isinstance(site, Products) else ("static", "float")


def _other_site(graph: Graph, node: NodeProto) -> list[Site]:
    if node.domain not in ("", "ai.onnx"):
        return []
    if node.op_type == "Conv" and graph.is_float_constant(node.input[1], rank=4):
        bias_known = len(node.input) < 3 or graph.is_float_constant(node.input[2], rank=1)
        patches = find_patches(graph, node)
        return [patches] if patches else [Convolution(node.name)] if bias_known else []
    if node.op_type == "Gather" and graph.is_float_constant(node.input[0], rank=2):
        rows, width = graph.constants[node.input[0]].dims
        by_row = all(attribute.i == 0 for attribute in node.attribute if attribute.name == "axis")
        return [Table(node.name)] if by_row and rows * width >= MIN_TABLE_VALUES else []
    return []

"""Move outlier channels from the input of matrix products into their weights; knows nothing of files.

Trained transformers have a few channels whose values are tens of times larger than the others'; one scale for
all then leaves the others a handful of codes. Dividing each channel of the input by a factor and multiplying
its row of the weights by it changes nothing in exact arithmetic. SmoothQuant, Xiao et al. 2023, with their
exponent of one half. The division is free where the input comes from a normalisation, whose own gain and bias
take it; elsewhere it is one multiplication for each value, and has to earn that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from onnx import NodeProto, TensorProto
from onnx.helper import make_node

from diptych_training.export.int8.layers import Products
from diptych_training.export.int8.observe import Seen
from diptych_training.export.int8.scales import best_scale, quantised_columns
from diptych_training.export.onnx.graph import Floats, Graph, constant, rewired
from diptych_training.export.onnx.linear import weight_of

# Where the gain and the bias stand among a normalisation's inputs.
NORMALISATIONS: Final = {"LayerNormalization": (1, 2), "SkipLayerNormalization": (2, 3)}
SMALLEST = 1e-5
WORTH = 0.5  # a multiplication at run time is added when it at least halves the squared error


@dataclass(frozen=True)
class Level:
    """A site's input as its products are to read it.

    `nodes` write it (none when it stays as it is) and take the place of the nodes `replaces`; the weights of
    the products are to be multiplied by `factors` (K,) row by row.
    """

    source: str
    seen: Seen
    factors: Floats
    replaces: frozenset[str] = frozenset()
    nodes: tuple[NodeProto, ...] = ()
    constants: tuple[TensorProto, ...] = ()


def level(graph: Graph, site: Products, seen: Seen) -> Level:
    """The site's input with its channels levelled, or as it is where that is worth nothing."""
    weights = [weight_of(graph, linear) for linear in site.linears]
    factors = _factors(seen, weights)
    plain = Level(site.source, seen, np.ones_like(factors))
    gain = _squared_error(seen.divided(factors), weights, factors) / _squared_error(
        seen, weights, plain.factors
    )
    normalisation = own_normalisation(graph, site)
    if normalisation is not None:
        return (
            _in_normalisation(graph, normalisation, site, seen.divided(factors), factors)
            if gain < 1
            else plain
        )
    return _by_multiplication(site, seen.divided(factors), factors) if gain < WORTH else plain


def own_normalisation(graph: Graph, site: Products) -> NodeProto | None:
    """The normalisation that writes the site's input, if its constants are known and nobody else reads it."""
    node = graph.producer.get(site.source)
    if node is None or node.op_type not in NORMALISATIONS or site.source != node.output[0]:
        return None
    heads = {linear.nodes[0] for linear in site.linears}
    alone = (
        site.source not in graph.outputs and {reader.name for reader in graph.readers(site.source)} == heads
    )
    known = all(name in graph.constants for name in _affine(node))
    return node if alone and known else None


def _in_normalisation(graph: Graph, node: NodeProto, site: Products, seen: Seen, factors: Floats) -> Level:
    inputs = list(node.input)
    constants: list[TensorProto] = []
    for at in NORMALISATIONS[node.op_type]:
        if at < len(node.input) and node.input[at]:
            inputs[at] = f"{site.name}/int8/{'gain' if not constants else 'shift'}"
            constants.append(constant(inputs[at], graph.array(node.input[at]) / factors))
    scaled = rewired(node, inputs, node.output)
    return Level(site.source, seen, factors, frozenset([node.name]), (scaled,), tuple(constants))


def _by_multiplication(site: Products, seen: Seen, factors: Floats) -> Level:
    p = f"{site.name}/int8"
    node = make_node("Mul", [site.source, f"{p}/inverse"], [f"{p}/level"], name=f"{p}/level")
    inverse = constant(f"{p}/inverse", (1 / factors).astype(np.float32))
    return Level(f"{p}/level", seen, factors, nodes=(node,), constants=(inverse,))


def _factors(seen: Seen, weights: Sequence[Floats]) -> Floats:
    peaks = np.maximum(np.abs(seen.lows), np.abs(seen.highs))  # (K,)
    rows = np.maximum.reduce([np.abs(weight).max(axis=1) for weight in weights])  # (K,)
    factors: Floats = np.sqrt(np.maximum(peaks, SMALLEST)) / np.sqrt(np.maximum(rows, SMALLEST))
    return factors


def _squared_error(seen: Seen, weights: Sequence[Floats], factors: Floats) -> float:
    """Of the products of the sampled rows, input and weights both rounded."""
    rows = best_scale(seen.lowest, seen.highest, seen.rows).round_trip(seen.rows)
    total = 0.0
    for weight in weights:
        codes, scales = quantised_columns(weight * factors[:, None])
        exact = (seen.rows * factors) @ weight
        total += float(np.square(rows @ (codes * scales) - exact).sum(dtype=np.float64))
    return max(total, float(np.finfo(np.float32).tiny))


def _affine(node: NodeProto) -> list[str]:
    """The names of a normalisation's gain and bias."""
    return [node.input[at] for at in NORMALISATIONS[node.op_type] if at < len(node.input) and node.input[at]]

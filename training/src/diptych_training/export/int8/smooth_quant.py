"""SmoothQuant (Xiao et al. 2023): move outlier channels from the input of matrix products into their weights.

Trained transformers have a few channels whose values are tens of times larger than the others', so that one
scale for all leaves the others a handful of codes. Dividing each input channel by a factor and multiplying
its row of the weights by it changes nothing in exact arithmetic. The exponent is one half, as in the paper.
The division is free if the input comes from a normalisation, whose gain and bias absorb it; elsewhere it
costs one multiplication per value, and is used only if it gains enough.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from onnx import NodeProto, TensorProto
from onnx.helper import make_node

from diptych_training.export.int8.layers import MatMulGroup
from diptych_training.export.int8.observe import TensorStats
from diptych_training.export.int8.scales import best_scale, quantised_columns
from diptych_training.export.onnx.graph import Floats, Graph, constant, rewired
from diptych_training.export.onnx.patterns import weight_of

# Positions of gain and bias among a normalisation's inputs.
NORMALISATIONS: Final = {"LayerNormalization": (1, 2), "SkipLayerNormalization": (2, 3)}
SMALLEST = 1e-5
MIN_GAIN = 0.5  # a multiplication at run time is added only if it at least halves the squared error


@dataclass(frozen=True)
class SmoothedInput:
    """A site's input as its products are to read it.

    `nodes` write it (none when it stays as it is) and take the place of the nodes `replaces`; the weights of
    the products are to be multiplied by `factors` (K,) row by row.
    """

    source: str
    stats: TensorStats
    factors: Floats
    replaces: frozenset[str] = frozenset()
    nodes: tuple[NodeProto, ...] = ()
    constants: tuple[TensorProto, ...] = ()


def smooth(graph: Graph, layer: MatMulGroup, stats: TensorStats) -> SmoothedInput:
    """The site's input with its channels levelled, or as it is where that is worth nothing."""
    weights = [weight_of(graph, linear) for linear in layer.linears]
    factors = _factors(stats, weights)
    plain = SmoothedInput(layer.source, stats, np.ones_like(factors))
    gain = _squared_error(stats.divided(factors), weights, factors) / _squared_error(
        stats, weights, plain.factors
    )
    normalisation = own_normalisation(graph, layer)
    if normalisation is not None:
        return (
            _in_normalisation(graph, normalisation, layer, stats.divided(factors), factors)
            if gain < 1
            else plain
        )
    return _by_multiplication(layer, stats.divided(factors), factors) if gain < MIN_GAIN else plain


def own_normalisation(graph: Graph, layer: MatMulGroup) -> NodeProto | None:
    """The normalisation that writes the site's input, if its constants are known and nobody else reads it."""
    node = graph.producer.get(layer.source)
    if node is None or node.op_type not in NORMALISATIONS or layer.source != node.output[0]:
        return None
    heads = {linear.nodes[0] for linear in layer.linears}
    alone = (
        layer.source not in graph.outputs and {reader.name for reader in graph.readers(layer.source)} == heads
    )
    known = all(name in graph.constants for name in _affine(node))
    return node if alone and known else None


def _in_normalisation(
    graph: Graph, node: NodeProto, layer: MatMulGroup, stats: TensorStats, factors: Floats
) -> SmoothedInput:
    inputs = list(node.input)
    constants: list[TensorProto] = []
    for at in NORMALISATIONS[node.op_type]:
        if at < len(node.input) and node.input[at]:
            inputs[at] = f"{layer.name}/int8/{'gain' if not constants else 'shift'}"
            constants.append(constant(inputs[at], graph.array(node.input[at]) / factors))
    scaled = rewired(node, inputs, node.output)
    return SmoothedInput(layer.source, stats, factors, frozenset([node.name]), (scaled,), tuple(constants))


def _by_multiplication(layer: MatMulGroup, stats: TensorStats, factors: Floats) -> SmoothedInput:
    p = f"{layer.name}/int8"
    node = make_node("Mul", [layer.source, f"{p}/inverse"], [f"{p}/level"], name=f"{p}/level")
    inverse = constant(f"{p}/inverse", (1 / factors).astype(np.float32))
    return SmoothedInput(f"{p}/level", stats, factors, nodes=(node,), constants=(inverse,))


def _factors(stats: TensorStats, weights: Sequence[Floats]) -> Floats:
    peaks = np.maximum(np.abs(stats.lows), np.abs(stats.highs))  # (K,)
    rows = np.maximum.reduce([np.abs(weight).max(axis=1) for weight in weights])  # (K,)
    factors: Floats = np.sqrt(np.maximum(peaks, SMALLEST)) / np.sqrt(np.maximum(rows, SMALLEST))
    return factors


def _squared_error(stats: TensorStats, weights: Sequence[Floats], factors: Floats) -> float:
    """Of the products of the sampled rows, input and weights both rounded."""
    rows = best_scale(stats.lowest, stats.highest, stats.rows).round_trip(stats.rows)
    total = 0.0
    for weight in weights:
        codes, scales = quantised_columns(weight * factors[:, None])
        exact = (stats.rows * factors) @ weight
        total += float(np.square(rows @ (codes * scales) - exact).sum(dtype=np.float64))
    return max(total, float(np.finfo(np.float32).tiny))


def _affine(node: NodeProto) -> list[str]:
    """The names of a normalisation's gain and bias."""
    return [node.input[at] for at in NORMALISATIONS[node.op_type] if at < len(node.input) and node.input[at]]

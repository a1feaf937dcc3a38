"""Build the model for a plan, which gives each layer its form."""

from collections.abc import Mapping, Sequence

from onnx import ModelProto, NodeProto, TensorProto

from diptych_training.export.int8.convolutions import (
    convolution_rewrite,
    insert_quantize_dequantize,
    quantised_tensors,
)
from diptych_training.export.int8.embeddings import patch_rewrite, table_rewrite
from diptych_training.export.int8.layers import Convolution, EmbeddingTable, Form, Layer, MatMulGroup
from diptych_training.export.int8.matmul import rows_rewrite, static_rewrite, weights_rewrite
from diptych_training.export.int8.observe import TensorStats
from diptych_training.export.int8.scales import Scale, best_scale
from diptych_training.export.int8.smooth_quant import SmoothedInput, smooth
from diptych_training.export.onnx.graph import Graph, Rewrite, rebuilt
from diptych_training.export.onnx.patches import PatchEmbedding

Plan = Mapping[str, Form]  # name of a site -> its form


def tensors_to_observe(graph: Graph, layers: Sequence[Layer]) -> list[str]:
    """Names of all tensors whose range any plan needs."""
    convolutions = {layer.name for layer in layers if isinstance(layer, Convolution)}
    sources = {layer.source for layer in layers if isinstance(layer, MatMulGroup)}
    return sorted(sources | set(quantised_tensors(graph, convolutions)))


class Quantiser:
    """A float32 graph with the statistics of its tensors; caches quantised weights between models."""

    def __init__(self, graph: Graph, layers: Sequence[Layer], stats: Mapping[str, TensorStats]) -> None:
        self.graph, self.layers = graph, layers
        self._stats = stats
        self._scales: dict[str, Scale] = {}
        self._smoothed: dict[str, SmoothedInput] = {}
        self._rewrites: dict[tuple[str, Form, Scale | None], Rewrite] = {}

    def build(self, plan: Plan) -> ModelProto:
        """The model of a plan."""
        chosen = [layer for layer in self.layers if plan[layer.name] != "float"]
        owners = quantised_tensors(self.graph, {s.name for s in chosen if isinstance(s, Convolution)})
        scales = {name: self._scale(owner) for name, owner in owners.items()}
        rewrites = [self._rewrite(layer, plan[layer.name], scales) for layer in chosen]
        nodes, constants = replaced(self.graph, rewrites)
        nodes, more = insert_quantize_dequantize(self.graph, nodes, scales)
        return rebuilt(self.graph, nodes, constants + more)

    def _scale(self, name: str) -> Scale:
        if name not in self._scales:
            stats = self._stats[name]
            self._scales[name] = best_scale(stats.lowest, stats.highest, stats.rows)
        return self._scales[name]

    def _rewrite(self, layer: Layer, form: Form, scales: Mapping[str, Scale]) -> Rewrite:
        source = scales[self.graph.node[layer.name].input[0]] if isinstance(layer, Convolution) else None
        key = (layer.name, form, source)
        if key not in self._rewrites:
            self._rewrites[key] = self._make_rewrite(layer, form, source)
        return self._rewrites[key]

    def _make_rewrite(self, layer: Layer, form: Form, source: Scale | None) -> Rewrite:
        match layer:
            case Convolution():
                assert source is not None
                return convolution_rewrite(self.graph, layer.name, source)
            case EmbeddingTable():
                return table_rewrite(self.graph, layer)
            case PatchEmbedding():
                return patch_rewrite(self.graph, layer)
            case MatMulGroup() if form == "weights":
                return weights_rewrite(self.graph, layer)
            case MatMulGroup():
                rewrite = static_rewrite if form == "static" else rows_rewrite
                return rewrite(self.graph, layer, self._smooth(layer))

    def _smooth(self, layer: MatMulGroup) -> SmoothedInput:
        if layer.name not in self._smoothed:
            self._smoothed[layer.name] = smooth(self.graph, layer, self._stats[layer.source])
        return self._smoothed[layer.name]


def replaced(graph: Graph, rewrites: Sequence[Rewrite]) -> tuple[list[NodeProto], list[TensorProto]]:
    """The graph's nodes with the rewrites applied, and the constants of the rewrites."""
    where = {name: rewrite for rewrite in rewrites for name in rewrite.replaces}
    nodes: list[NodeProto] = []
    done: set[int] = set()
    for node in graph.nodes:
        rewrite = where.get(node.name)
        if rewrite is None:
            nodes.append(node)
        elif id(rewrite) not in done:
            done.add(id(rewrite))
            nodes += rewrite.nodes
    return nodes, [tensor for rewrite in rewrites for tensor in rewrite.constants]

"""Quantise a float32 graph: calibrate, find a form for each layer, write the int8 graph and its report."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from diptych_training.errors import ExportError
from diptych_training.export.int8.convolutions import (
    convolution_rewrite,
    insert_quantize_dequantize,
    quantised_tensors,
)
from diptych_training.export.int8.layers import (
    Convolution,
    EmbeddingTable,
    Form,
    Layer,
    MatMulGroup,
    find_layers,
    forms_of,
)
from diptych_training.export.int8.observe import (
    Batches,
    TensorStats,
    observe,
    open_model,
    read_simplified,
    run,
)
from diptych_training.export.int8.products import (
    patch_rewrite,
    rows_rewrite,
    static_rewrite,
    table_rewrite,
    weights_rewrite,
)
from diptych_training.export.int8.scales import Scale, best_scale, weight_steps
from diptych_training.export.int8.search import Int8Report, LayerForms, Search, SearchResult
from diptych_training.export.int8.smooth_quant import SmoothedInput, smooth
from diptych_training.export.onnx.files import write_graph
from diptych_training.export.onnx.graph import Floats, Graph, Rewrite, rebuilt
from diptych_training.export.onnx.patterns import PatchEmbedding
from diptych_training.progress import Reporter


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

    def build(self, plan: LayerForms) -> ModelProto:
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


N_PROBED = 16  # inputs on which layers are ranked


def write_int8(
    source: Path, target: Path, calibration: Batches, *, check: Callable[[Path], float], report: Reporter
) -> Int8Report:
    """Write the int8 graph of `source` to `target` with the same signature.

    `calibration`: real inputs of the graph, in batches. `check` returns a candidate file's cosine to the
    reference. Raises ExportError if the graph has nothing to quantise or does not load.
    """
    if not any(len(batch) for batch in calibration):
        raise ExportError(f"{source.name}: int8 needs calibration inputs, but there are none")
    with TemporaryDirectory(dir=target.parent, prefix=".tmp-int8-") as name:
        folder = Path(name)
        quantiser = prepare(source, calibration, folder)
        report(f"int8: {source.name}: {len(quantiser.layers)} layers found and observed")
        forms_by_layer = {layer.name: forms_of(layer) for layer in quantiser.layers}
        measure = _make_measure(quantiser, check, folder / target.name)
        found = Search(forms_by_layer, measure, _make_probe(quantiser, calibration, folder), report).run()
        write_graph(quantiser.build(found.plan), target)
    return _report(found)


def prepare(source: Path, calibration: Batches, folder: Path) -> Quantiser:
    """Read the graph, find its layers and observe its tensors: all work that no plan changes."""
    graph = read_simplified(source, folder)
    layers = find_layers(graph)
    if not layers:
        raise ExportError(
            f"{source.name}: no convolution, matrix product or table with constant float32 weights"
        )
    return Quantiser(graph, layers, observe(graph, tensors_to_observe(graph, layers), calibration, folder))


def _make_measure(
    quantiser: Quantiser, check: Callable[[Path], float], candidate: Path
) -> Callable[[LayerForms], float]:
    def measure(plan: LayerForms) -> float:
        write_graph(quantiser.build(plan), candidate)
        return check(candidate)

    return measure


def _make_probe(quantiser: Quantiser, calibration: Batches, folder: Path) -> Callable[[LayerForms], float]:
    """A function that returns a plan's mean cosine to the all-float plan, on a few inputs."""
    probes = _first_items(calibration)

    @cache
    def reference() -> Floats:
        return _rows(quantiser, {layer.name: "float" for layer in quantiser.layers}, probes, folder)

    def probe(plan: LayerForms) -> float:
        return float((_rows(quantiser, plan, probes, folder) * reference()).sum(axis=1).mean())

    return probe


def _rows(quantiser: Quantiser, plan: LayerForms, batches: Batches, folder: Path) -> Floats:
    session = open_model(quantiser.build(plan), folder)
    return np.concatenate([run(session, batch) for batch in batches])


def _first_items(batches: Batches) -> Batches:
    """The first `N_PROBED` inputs, still in batches."""
    taken, left = [], N_PROBED
    for batch in batches:
        taken.append(batch[:left])
        left -= len(taken[-1])
        if left == 0:
            break
    return taken


def _report(found: SearchResult) -> Int8Report:
    def of(form: Form) -> tuple[str, ...]:
        return tuple(name for name, each in found.plan.items() if each == form)

    return Int8Report(
        n_quantised=len(found.plan) - len(of("float")),
        kept_rows=of("rows"),
        kept_float=of("float"),
        weight_steps=weight_steps(),
        cosine=found.cosine,
        tries=found.tries,
    )

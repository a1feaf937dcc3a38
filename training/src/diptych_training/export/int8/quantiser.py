"""Build the model in which each layer has a chosen form; knows nothing of how the forms are chosen."""

from collections.abc import Mapping, Sequence

from onnx import ModelProto, NodeProto, TensorProto

from diptych_training.export.int8.convolutions import convolution_rewrite, quantised_tensors, with_pairs
from diptych_training.export.int8.embeddings import patch_rewrite, table_rewrite
from diptych_training.export.int8.layers import Convolution, Form, Products, Site, Table
from diptych_training.export.int8.matmul import rows_rewrite, static_rewrite
from diptych_training.export.int8.observe import Seen
from diptych_training.export.int8.scales import Scale, best_scale
from diptych_training.export.int8.smooth_quant import Level, level
from diptych_training.export.onnx.graph import Graph, Rewrite, rebuilt
from diptych_training.export.onnx.patches import Patches

Plan = Mapping[str, Form]  # name of a site -> its form


def tensors_to_observe(graph: Graph, sites: Sequence[Site]) -> list[str]:
    """All whose range some plan needs."""
    convolutions = {site.name for site in sites if isinstance(site, Convolution)}
    sources = {site.source for site in sites if isinstance(site, Products)}
    return sorted(sources | set(quantised_tensors(graph, convolutions)))


class Quantiser:
    """One float32 graph and what was seen of its tensors; rounded weights are kept from model to model."""

    def __init__(self, graph: Graph, sites: Sequence[Site], seen: Mapping[str, Seen]) -> None:
        self.graph, self.sites = graph, sites
        self._seen = seen
        self._scales: dict[str, Scale] = {}
        self._levels: dict[str, Level] = {}
        self._rewrites: dict[tuple[str, Form, Scale | None], Rewrite] = {}

    def build(self, plan: Plan) -> ModelProto:
        """The model of a plan."""
        chosen = [site for site in self.sites if plan[site.name] != "float"]
        owners = quantised_tensors(self.graph, {s.name for s in chosen if isinstance(s, Convolution)})
        scales = {name: self._scale(owner) for name, owner in owners.items()}
        rewrites = [self._rewrite(site, plan[site.name], scales) for site in chosen]
        nodes, constants = replaced(self.graph, rewrites)
        nodes, more = with_pairs(self.graph, nodes, scales)
        return rebuilt(self.graph, nodes, constants + more)

    def _scale(self, name: str) -> Scale:
        if name not in self._scales:
            seen = self._seen[name]
            self._scales[name] = best_scale(seen.lowest, seen.highest, seen.rows)
        return self._scales[name]

    def _rewrite(self, site: Site, form: Form, scales: Mapping[str, Scale]) -> Rewrite:
        source = scales[self.graph.node[site.name].input[0]] if isinstance(site, Convolution) else None
        key = (site.name, form, source)
        if key not in self._rewrites:
            self._rewrites[key] = self._made(site, form, source)
        return self._rewrites[key]

    def _made(self, site: Site, form: Form, source: Scale | None) -> Rewrite:
        match site:
            case Convolution():
                assert source is not None
                return convolution_rewrite(self.graph, site.name, source)
            case Table():
                return table_rewrite(self.graph, site)
            case Patches():
                return patch_rewrite(self.graph, site)
            case Products():
                rewrite = static_rewrite if form == "static" else rows_rewrite
                return rewrite(self.graph, site, self._level(site))

    def _level(self, site: Products) -> Level:
        if site.name not in self._levels:
            self._levels[site.name] = level(self.graph, site, self._seen[site.source])
        return self._levels[site.name]


def replaced(graph: Graph, rewrites: Sequence[Rewrite]) -> tuple[list[NodeProto], list[TensorProto]]:
    """The graph's nodes with the rewrites in their places, and the constants of the rewrites."""
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

"""Quantise a float32 graph: calibrate, search a plan, write the int8 graph and its report."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from diptych_training.errors import ExportError
from diptych_training.export.int8.layers import Form, find_layers, forms_of
from diptych_training.export.int8.model_file import open_model, read_simplified, run
from diptych_training.export.int8.observe import Batches, observe
from diptych_training.export.int8.quantiser import Quantiser, tensors_to_observe
from diptych_training.export.int8.report import Int8Report, Say
from diptych_training.export.int8.scales import weight_steps
from diptych_training.export.int8.search import Plan, Search, SearchResult
from diptych_training.export.onnx.files import write_graph
from diptych_training.export.onnx.graph import Floats

N_PROBED = 16  # inputs on which layers are ranked


def write_int8(
    source: Path, target: Path, calibration: Batches, *, check: Callable[[Path], float], say: Say
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
        say(f"int8: {source.name}: {len(quantiser.layers)} layers found and observed")
        forms_by_layer = {layer.name: forms_of(layer) for layer in quantiser.layers}
        judge = _make_judge(quantiser, check, folder / target.name)
        found = Search(forms_by_layer, judge, _make_probe(quantiser, calibration, folder), say).run()
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


def _make_judge(
    quantiser: Quantiser, check: Callable[[Path], float], candidate: Path
) -> Callable[[Plan], float]:
    def judge(plan: Plan) -> float:
        write_graph(quantiser.build(plan), candidate)
        return check(candidate)

    return judge


def _make_probe(quantiser: Quantiser, calibration: Batches, folder: Path) -> Callable[[Plan], float]:
    """A function that returns a plan's mean cosine to the all-float plan, on a few inputs."""
    probes = _first_items(calibration)

    @cache
    def reference() -> Floats:
        return _rows(quantiser, {layer.name: "float" for layer in quantiser.layers}, probes, folder)

    def probe(plan: Plan) -> float:
        return float((_rows(quantiser, plan, probes, folder) * reference()).sum(axis=1).mean())

    return probe


def _rows(quantiser: Quantiser, plan: Plan, batches: Batches, folder: Path) -> Floats:
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

"""The use case: a float32 graph in, its int8 graph and a report out; knows nothing of bundles."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from diptych_training.errors import ExportError
from diptych_training.export.int8.layers import Form, find_sites, ladder
from diptych_training.export.int8.model_file import open_model, read_simplified, run
from diptych_training.export.int8.observe import Batches, observe
from diptych_training.export.int8.quantiser import Quantiser, tensors_to_observe
from diptych_training.export.int8.report import Int8Report, Say
from diptych_training.export.int8.scales import weight_steps
from diptych_training.export.int8.search import Found, Plan, Search
from diptych_training.export.onnx.files import write_graph
from diptych_training.export.onnx.graph import Floats

N_PROBED = 16  # inputs on which layers are ranked


def write_int8(
    source: Path, target: Path, calibration: Batches, *, check: Callable[[Path], float], say: Say
) -> Int8Report:
    """Write the int8 graph of `source` to `target` with the same signature.

    `calibration`: real inputs of the graph, in batches. `check` holds a candidate file against the reference
    and answers the mean cosine. Raises ExportError when the graph has nothing to quantise, or does not load.
    """
    if not any(len(batch) for batch in calibration):
        raise ExportError(f"{source.name}: int8 needs calibration inputs, there are none")
    with TemporaryDirectory(dir=target.parent, prefix=".tmp-int8-") as name:
        folder = Path(name)
        quantiser = prepare(source, calibration, folder)
        say(f"int8: {source.name}: {len(quantiser.sites)} layers found and observed")
        ladders = {site.name: ladder(site) for site in quantiser.sites}
        judge = _judge(quantiser, check, folder / target.name)
        found = Search(ladders, judge, _probe(quantiser, calibration, folder), say).run()
        write_graph(quantiser.build(found.plan), target)
    return _report(found)


def prepare(source: Path, calibration: Batches, folder: Path) -> Quantiser:
    """All that does not depend on the way: the simplified graph, its layers, its tensors observed."""
    graph = read_simplified(source, folder)
    sites = find_sites(graph)
    if not sites:
        raise ExportError(
            f"{source.name}: no convolution, matrix product or table with constant float32 weights"
        )
    return Quantiser(graph, sites, observe(graph, tensors_to_observe(graph, sites), calibration, folder))


def _judge(quantiser: Quantiser, check: Callable[[Path], float], candidate: Path) -> Callable[[Plan], float]:
    def judge(plan: Plan) -> float:
        write_graph(quantiser.build(plan), candidate)
        return check(candidate)

    return judge


def _probe(quantiser: Quantiser, calibration: Batches, folder: Path) -> Callable[[Plan], float]:
    """Mean cosine of a plan to the all-float one, on a few inputs."""
    probes = _first_items(calibration)

    @cache
    def reference() -> Floats:
        return _rows(quantiser, {site.name: "float" for site in quantiser.sites}, probes, folder)

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


def _report(found: Found) -> Int8Report:
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

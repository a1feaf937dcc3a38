"""Make, measure and gate every requested precision of a model.

Other precisions are made from the float32 graphs. A precision that breaks its parity bound is not published;
the others are.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from pydantic import JsonValue
from safetensors.torch import load_file

from diptych.adapters.onnxruntime.encoder import OnnxEncoder
from diptych.bundle.golden import check_golden
from diptych.bundle.manifest import (
    GRAPH_PRECISIONS,
    GRAPHS_OF,
    TOKENIZER_FILE,
    ManifestDraft,
    Parity,
    Precision,
)
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych.errors import DiptychError, InvalidValue
from diptych_training.export.fp16.convert import write_fp16
from diptych_training.export.int8.search import Int8Report
from diptych_training.export.int8.write import write_int8
from diptych_training.export.onnx.bundle_files import EXACT, WEIGHTS_FILE, graph_files
from diptych_training.export.onnx.files import read_graph, write_graph
from diptych_training.export.onnx.half_weights import halve_weights, write_weights_not_in_graphs
from diptych_training.export.optimise import FLOAT32, Step, optimise
from diptych_training.export.proof.calibration import Batch, Calibration, make_check, split
from diptych_training.export.proof.prove import Proof, parity_table, prove_parity, require_parity
from diptych_training.stages import ProgressReporter, Stages

MakeDraft = Callable[[dict[str, Precision]], ManifestDraft]
TOWERS = ("image", "text")
N_CHECKED = 4  # items that each rewrite is checked on; the final proof has a thousand


@dataclass(frozen=True)
class ExportContext:
    """A staged folder with float32 graphs and a tokenizer, and everything that making precisions needs."""

    folder: Path
    proof: Proof
    make_draft: MakeDraft  # the manifest with these precisions
    calibration: Callable[[], Calibration]  # called only if needed
    ungated: bool = False
    optimise: bool = True  # rewrite the float32 graphs
    half_weights: bool = False  # store the weights of the float32 graphs as float16


@dataclass
class ExportResult:
    """Outcome for all precisions.

    `sources`: the float32 graphs from which other precisions are made. `measured`: parity of each precision
    that could be made. `published`: precisions whose files are kept. `reports`: how they were made, as JSON.
    """

    sources: Sequence[Path]
    measured: dict[str, Parity] = field(default_factory=dict)
    published: dict[str, Precision] = field(default_factory=dict)
    reports: dict[str, JsonValue] = field(default_factory=dict)


def parse_precisions(text: str) -> tuple[str, ...]:
    """``int8,fp16`` -> precisions, with fp32 always first. Raises InvalidValue."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in GRAPH_PRECISIONS]
    if unknown:
        of_fp32 = GRAPHS_OF.get(unknown[0]) == EXACT
        hint = f"; {unknown[0]} needs no graphs of its own: those of fp32 are served in it" if of_fp32 else ""
        raise InvalidValue(f"--precisions: {unknown[0]!r} is not one of {', '.join(GRAPH_PRECISIONS)}{hint}")
    return tuple(dict.fromkeys([EXACT, *names]))


def make_precisions(
    context: ExportContext, asked: Sequence[str], reporter: ProgressReporter, stages: Stages
) -> ExportResult:
    """Make every requested precision, keep those within their bounds, and report the parity table.

    Raises ParityFailed or GoldenMismatch if the float32 graphs do not match the model, since nothing can be
    published then. An ungated context keeps every precision that can be made.
    """
    result = ExportResult([context.folder / file for file in graph_files(EXACT)])
    with TemporaryDirectory(dir=context.folder, prefix=".sources-") as kept:
        if context.optimise:
            with stages.stage("optimise graphs"):
                result.sources, result.reports["optimised"] = _optimise(context, Path(kept), reporter)
        try:
            # Last, if its weights are halved: the other precisions are made from float32 weights.
            for name in sorted(asked, key=lambda name: (name == EXACT) == context.half_weights):
                if name == EXACT and context.half_weights:
                    with stages.stage("keep weights in float16"):
                        _halve_weights(context.folder)
                _make(context, name, result, reporter, stages)
        finally:
            result.measured = {name: result.measured[name] for name in asked if name in result.measured}
            if result.measured:
                reporter.report(parity_table(result.measured, context.proof.n_texts_left_out))
    result.published = {name: result.published[name] for name in asked if name in result.published}
    return result


def _halve_weights(folder: Path) -> None:
    """Store the weights as float16 in both graphs, and what they hold nowhere else."""
    weights = load_file(folder / WEIGHTS_FILE)
    halves = {name: tensor.numpy() for name, tensor in weights.items() if tensor.dtype == torch.float16}
    held: dict[str, set[str]] = {}
    for file in graph_files(EXACT):
        held[file] = halve_weights(folder / file, halves)
        halves = {name: values for name, values in halves.items() if name not in held[file]}
    write_weights_not_in_graphs(folder / WEIGHTS_FILE, weights, held)


def _optimise(context: ExportContext, kept: Path, reporter: ProgressReporter) -> tuple[list[Path], JsonValue]:
    """Rewrite both float32 graphs, each rewrite checked; the rewritten graphs are proven and published.

    Copies with only the rewrites for every precision go to `kept`; other precisions are made from them.
    """
    sources = [kept / file for file in graph_files(EXACT)]
    reports: dict[str, JsonValue] = {}
    for tower, source, batches in zip(TOWERS, sources, _inputs(context.calibration()), strict=True):
        graph = context.folder / source.name
        few = [batches[0][:N_CHECKED], batches[0][:1]]  # also a single item
        steps = optimise(graph, few, reporter.report)
        write_graph(read_graph(graph), source)
        steps += optimise(graph, few, reporter.report, FLOAT32)
        reports[tower] = [_as_json(step) for step in steps]
    return sources, reports


def _make(
    context: ExportContext, name: str, result: ExportResult, reporter: ProgressReporter, stages: Stages
) -> None:
    try:
        if name != EXACT:
            with stages.stage(f"write {name} graphs"):
                result.reports[name] = _write(context, name, result.sources, reporter)
        with stages.stage(f"prove {name}"):
            result.measured[name] = prove_parity(context.folder, name, context.proof, reporter.advance)
        published = _precision(name, result.measured[name])
        if not context.ungated:
            _gate(context, name, published)
        result.published[name] = published
    except DiptychError as error:
        if name == EXACT:
            raise
        reporter.report(f"{name} is NOT published: {error}")
        result.reports.pop(name, None)
        _discard(context.folder, name)


def _gate(context: ExportContext, name: str, precision: Precision) -> None:
    """Raise ParityFailed, or GoldenMismatch if a server would reject the graphs on the golden items."""
    assert precision.parity is not None
    require_parity(precision.parity, name)
    draft = context.make_draft({name: precision})
    tokenizer = TextTokenizer(context.folder / TOKENIZER_FILE, draft.text)
    encoder = OnnxEncoder(context.folder / precision.image_file, context.folder / precision.text_file)
    check_golden(context.proof.golden, draft, name, tokenizer, encoder)


def _write(
    context: ExportContext, name: str, sources: Sequence[Path], reporter: ProgressReporter
) -> JsonValue:
    """Write both graphs of one further precision; return a report on each tower."""
    targets = [context.folder / file for file in graph_files(name)]
    if name == "fp16":
        for source, target in zip(sources, targets, strict=True):
            write_fp16(source, target)
        return {}
    towers = zip(TOWERS, sources, targets, _inputs(context.calibration()), strict=True)
    return {
        tower: _write_int8(source, target, batches, reporter) for tower, source, target, batches in towers
    }


def _write_int8(
    source: Path, target: Path, batches: Sequence[Batch], reporter: ProgressReporter
) -> JsonValue:
    calibrated_on, judged_by = split(batches)
    check = make_check(source, judged_by)
    report = write_int8(source, target, calibrated_on, check=check, report=reporter.report)
    return _as_json(report)


def _inputs(calibration: Calibration) -> tuple[list[Batch], list[Batch]]:
    """Calibration batches in the order of TOWERS."""
    return calibration.pixels, calibration.input_ids


def _as_json(report: Int8Report | Step) -> JsonValue:
    stated: JsonValue = json.loads(json.dumps(asdict(report)))
    return stated


def _precision(name: str, parity: Parity) -> Precision:
    image_file, text_file = graph_files(name)
    return Precision(image_file=image_file, text_file=text_file, parity=parity)


def _discard(folder: Path, name: str) -> None:
    """Remove the graphs of a precision and their external weights."""
    for file in graph_files(name):
        for path in folder.glob(f"{file}*"):
            path.unlink()

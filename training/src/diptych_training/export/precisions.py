"""Make, measure and gate every asked precision of a model; knows nothing of where the model came from.

The float32 graphs are written before; the others are made from them. A precision outside its bound is not
published, and the rest is.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import JsonValue

from diptych.adapters.onnxruntime.encoder import OnnxEncoder
from diptych.bundle.golden import check_golden
from diptych.bundle.manifest import COSINE_BOUNDS, TOKENIZER_FILE, ManifestDraft, Parity, Precision
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych.errors import DiptychError, InvalidValue
from diptych_training.export.fp16 import write_fp16
from diptych_training.export.fp16.half_weights import halve_weights
from diptych_training.export.int8 import Int8Report, write_int8
from diptych_training.export.onnx.bundle_files import EXACT, graph_files
from diptych_training.export.onnx.files import read_graph, write_graph
from diptych_training.export.optimise import FLOAT32, Step, optimise
from diptych_training.export.proof.calibration import Batch, Calibration, checker, split
from diptych_training.export.proof.gate import parity_table, require_parity
from diptych_training.export.proof.prove import Proof, prove_parity
from diptych_training.stages import Stages, Watcher

MakeDraft = Callable[[dict[str, Precision]], ManifestDraft]
TOWERS = ("image", "text")
N_CHECKED = 4  # items that each rewrite is checked on; the proof looks at a thousand in the end


@dataclass(frozen=True)
class Workshop:
    """A staged folder with float32 graphs and a tokenizer, and all that judging precisions takes."""

    folder: Path
    proof: Proof
    make_draft: MakeDraft  # the manifest with these precisions
    calibration: Callable[[], Calibration]  # asked only where something needs it
    ungated: bool = False
    optimise: bool = True  # rewrite the float32 graphs
    half_weights: bool = False  # keep the weights of the float32 graphs as float16


@dataclass
class Made:
    """`measured`: what could be made; `published`: whose files stay; `reports`: how they were made.

    `sources`: the float32 graphs of which other precisions are made.
    """

    sources: Sequence[Path]
    measured: dict[str, Parity] = field(default_factory=dict)
    published: dict[str, Precision] = field(default_factory=dict)
    reports: dict[str, JsonValue] = field(default_factory=dict)


def parse_precisions(text: str) -> tuple[str, ...]:
    """``int8,fp16`` -> its names, float32 first and always among them. Raises InvalidValue."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in COSINE_BOUNDS]
    if unknown:
        raise InvalidValue(f"--precisions: {unknown[0]!r} is none of {', '.join(COSINE_BOUNDS)}")
    return tuple(dict.fromkeys([EXACT, *names]))


def make_precisions(workshop: Workshop, asked: Sequence[str], watcher: Watcher, stages: Stages) -> Made:
    """Every asked precision inside its bound; the table of all that were measured is said at the end.

    Raises ParityFailed or GoldenMismatch if the float32 graphs do not follow the model: nothing is worth
    publishing then. A workshop that is ungated keeps whatever can be made.
    """
    made = Made([workshop.folder / file for file in graph_files(EXACT)])
    with TemporaryDirectory(dir=workshop.folder, prefix=".sources-") as kept:
        if workshop.optimise:
            with stages.stage("optimise graphs"):
                made.sources, made.reports["optimised"] = _optimise(workshop, Path(kept), watcher)
        try:
            for name in asked:
                _make(workshop, name, made, watcher, stages)
            if workshop.half_weights:  # last, as all others are made from float32
                with stages.stage("keep weights in float16"):
                    for file in graph_files(EXACT):
                        halve_weights(workshop.folder / file)
                _make(workshop, EXACT, made, watcher, stages)
        finally:
            if made.measured:
                watcher.say(parity_table(made.measured, workshop.proof.n_texts_left_out))
    return made


def _optimise(workshop: Workshop, kept: Path, watcher: Watcher) -> tuple[list[Path], JsonValue]:
    """The rewrites of both float32 graphs, each with its check; what the proof sees is the result.

    The graphs from which other precisions are to be made, after what is good for all, go into `kept`.
    """
    sources = [kept / file for file in graph_files(EXACT)]
    reports: dict[str, JsonValue] = {}
    for tower, source, batches in zip(TOWERS, sources, _inputs(workshop.calibration()), strict=True):
        graph = workshop.folder / source.name
        few = [batches[0][:N_CHECKED], batches[0][:1]]  # one item by itself, too
        steps = optimise(graph, few, watcher.say)
        write_graph(read_graph(graph), source)
        steps += optimise(graph, few, watcher.say, FLOAT32)
        reports[tower] = [_as_json(step) for step in steps]
    return sources, reports


def _make(workshop: Workshop, name: str, made: Made, watcher: Watcher, stages: Stages) -> None:
    try:
        if name != EXACT:
            with stages.stage(f"write {name} graphs"):
                made.reports[name] = _write(workshop, name, made.sources, watcher)
        with stages.stage(f"prove {name}"):
            made.measured[name] = prove_parity(workshop.folder, name, workshop.proof, watcher.advance)
        published = _precision(name, made.measured[name])
        if not workshop.ungated:
            _gate(workshop, name, published)
        made.published[name] = published
    except DiptychError as error:
        if name == EXACT:
            raise
        watcher.say(f"{name} is NOT published: {error}")
        made.reports.pop(name, None)
        _discard(workshop.folder, name)


def _gate(workshop: Workshop, name: str, precision: Precision) -> None:
    """Raises ParityFailed, or GoldenMismatch if a server would refuse the graphs on the golden items."""
    assert precision.parity is not None
    require_parity(precision.parity, name)
    draft = workshop.make_draft({name: precision})
    tokenizer = TextTokenizer(workshop.folder / TOKENIZER_FILE, draft.text)
    encoder = OnnxEncoder(workshop.folder / precision.image_file, workshop.folder / precision.text_file)
    check_golden(workshop.proof.golden, draft, name, tokenizer, encoder)


def _write(workshop: Workshop, name: str, sources: Sequence[Path], watcher: Watcher) -> JsonValue:
    """Both graphs of one further precision; what their maker reports of each tower."""
    targets = [workshop.folder / file for file in graph_files(name)]
    if name == "fp16":
        for source, target in zip(sources, targets, strict=True):
            write_fp16(source, target)
        return {}
    towers = zip(TOWERS, sources, targets, _inputs(workshop.calibration()), strict=True)
    return {tower: _write_int8(source, target, batches, watcher) for tower, source, target, batches in towers}


def _write_int8(source: Path, target: Path, batches: Sequence[Batch], watcher: Watcher) -> JsonValue:
    calibrated_on, judged_by = split(batches)
    check = checker(source, judged_by)
    report = write_int8(source, target, calibrated_on, check=check, say=watcher.say)
    return _as_json(report)


def _inputs(calibration: Calibration) -> tuple[list[Batch], list[Batch]]:
    """In the order of TOWERS."""
    return calibration.pixels, calibration.input_ids


def _as_json(report: Int8Report | Step) -> JsonValue:
    stated: JsonValue = json.loads(json.dumps(asdict(report)))
    return stated


def _precision(name: str, parity: Parity) -> Precision:
    image_file, text_file = graph_files(name)
    return Precision(image_file=image_file, text_file=text_file, parity=parity)


def _discard(folder: Path, name: str) -> None:
    """Remove the graphs of a precision with what lies beside them, such as their weights."""
    for file in graph_files(name):
        for path in folder.glob(f"{file}*"):
            path.unlink()

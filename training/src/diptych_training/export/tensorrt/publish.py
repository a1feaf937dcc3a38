"""Publish TensorRT plans of a version as the next version of its model: build, prove, gate, publish."""

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version as version_of
from pathlib import Path

from diptych.adapters.cuda.device import first_gpu
from diptych.adapters.tensorrt.encoder import TensorrtEncoder
from diptych.adapters.tensorrt.library import tensorrt_version
from diptych.adapters.tensorrt.plan import build_plan
from diptych.bundle.golden import check_golden
from diptych.bundle.manifest import (
    MANIFEST_FILE,
    MATRYOSHKA_DIMENSIONS,
    TOKENIZER_FILE,
    Manifest,
    ManifestDraft,
    Parity,
    Precision,
    TensorrtBuild,
)
from diptych.bundle.repository import STAGING_PREFIX, ModelRepository
from diptych.bundle.tensorrt_build import PLAN_SUFFIX, Profile
from diptych.bundle.text.tokenizer import TextTokenizer, pad
from diptych.errors import BundleError
from diptych_training.errors import ExportError
from diptych_training.export.fp16 import write_fp16
from diptych_training.export.model_card.card import CARD_FILE
from diptych_training.export.onnx.bundle_files import EXACT, IMAGE_FILE, MODEL_FILE, TEXT_FILE, WEIGHTS_FILE
from diptych_training.export.proof.gate import parity_table, require_parity
from diptych_training.export.proof.parity import EncodeFunctions, measure_parity
from diptych_training.export.proof.prove import Proof
from diptych_training.export.proof.samples import require_enough
from diptych_training.export.tensorrt.corners import profile_cosine_min
from diptych_training.export.tensorrt.reference import is_imported, parity_with_model, proof_by_graphs
from diptych_training.export.tensorrt.request import PlanRequest, image_profiles, text_profiles
from diptych_training.proof_set.proof_data import proof_data_of_version
from diptych_training.stages import ProgressReporter, Stages, files_table

KIND = "tensorrt"  # `source.kind` of such a version
NOT_COPIED = frozenset({WEIGHTS_FILE, MODEL_FILE})  # they stay with the original version


@dataclass(frozen=True)
class _BuildContext:
    """The version that plans are built from, their target folder, and the proof."""

    manifest: Manifest
    folder: Path
    staged: Path
    scratch: Path
    build: TensorrtBuild
    request: PlanRequest
    proof: Proof


def require_tensorrt() -> tuple[str, str, str]:
    """Name and compute capability of the GPU, and TensorRT's release. Raises ConfigError."""
    gpu = first_gpu()
    return gpu.name, ".".join(map(str, gpu.compute_capability)), tensorrt_version()


def export_plans(
    repository: ModelRepository,
    named: tuple[str, int],
    request: PlanRequest,
    reporter: ProgressReporter,
    *,
    data: Path | None,
) -> int:
    """Publish plans of a version for the GPU of this machine as the next version; return its number.

    `data` is the data set whose held-out images prove the plans; without it the version's own proof set does,
    or else the default data set. Raises ConfigError without a GPU or
    TensorRT, ExportError if a plan cannot be built, TooFewSamples if `data` is too small for a proof,
    ParityFailed or GoldenMismatch if a plan does not match the model and `request` is not `ungated`. Nothing
    is published then.
    """
    gpu, capability, release = require_tensorrt()
    name, version = named
    stages = Stages(reporter)
    with stages.stage(f"verify {name}/{version}"):
        manifest, folder = repository.verify(name, version), repository.folder(name, version)
    if manifest.tensorrt is not None:
        raise ExportError(f"{name}/{version} holds TensorRT plans itself: name a version with ONNX graphs")
    build = TensorrtBuild(
        gpu=gpu,
        compute_capability=capability,
        version=release,
        image_profiles=image_profiles(),
        text_profiles=text_profiles(manifest.text),
    )
    with repository.staging(name) as staged, _scratch(staged) as scratch:
        dataset = None  # imports are proven on photographs
        if not is_imported(manifest):
            dataset = proof_data_of_version(folder, data, manifest.image.size, Path(scratch))
            if not (request.ungated or manifest.ungated):
                require_enough(dataset)
        _copy_unchanged_files(manifest, folder, staged)
        with stages.stage("embed with the float32 graphs"):
            proof = proof_by_graphs(manifest, folder, Path(scratch), dataset, reporter.advance)
        context = _BuildContext(manifest, folder, staged, Path(scratch), build, request, proof)
        made = {precision: _make(context, precision, reporter, stages) for precision in request.precisions}
        measured = {key: one.parity for key, one in made.items() if one.parity is not None}
        reporter.say(parity_table(measured))
        _write_card(staged, manifest, build, measured)
        reporter.say(f"{stages.table()}\n\n{files_table(staged)}")
        return repository.publish(name, staged, _draft(context, made))


def plan_files(precision: str) -> tuple[str, str]:
    """Names of the image and the text plan of a precision."""
    image, text = (Path(file).stem for file in (IMAGE_FILE, TEXT_FILE))
    return f"{image}.{precision}{PLAN_SUFFIX}", f"{text}.{precision}{PLAN_SUFFIX}"


def _scratch(staged: Path) -> "tempfile.TemporaryDirectory[str]":
    """A folder for intermediate graphs, which may be large, next to the staged one."""
    return tempfile.TemporaryDirectory(dir=staged.parent, prefix=STAGING_PREFIX)


def _copy_unchanged_files(manifest: Manifest, folder: Path, staged: Path) -> None:
    """Copy tokenizer, golden items, cards and pictures; not the graphs and their weights."""
    graphs = [file for one in manifest.precisions.values() for file in (one.image_file, one.text_file)]
    for file in manifest.files:
        if file not in NOT_COPIED and not any(file.startswith(graph) for graph in graphs):
            shutil.copyfile(folder / file, staged / file)


def _make(context: _BuildContext, precision: str, reporter: ProgressReporter, stages: Stages) -> Precision:
    """Build, prove and gate both plans of a precision."""
    image_file, text_file = plan_files(precision)
    towers: tuple[tuple[str, Sequence[Profile]], ...] = (
        (image_file, context.build.image_profiles),
        (text_file, context.build.text_profiles),
    )
    for graph, (file, profiles) in zip(_graphs(context, precision), towers, strict=True):
        with stages.stage(f"build {file}"):
            _build(graph, context.staged / file, profiles)
    with stages.stage(f"prove {precision}"):
        parity = _prove(context, precision, reporter)
    return Precision(image_file=image_file, text_file=text_file, parity=parity)


def _build(graph: Path, target: Path, profiles: Sequence[Profile]) -> None:
    try:
        build_plan(graph, target, profiles)
    except BundleError as error:
        raise ExportError(str(error)) from error


def _graphs(context: _BuildContext, precision: str) -> list[Path]:
    """The version's own graphs of the precision, or float16 graphs made from its float32 graphs."""
    files = context.manifest.precisions.get(precision)
    if files is not None:
        return [context.folder / files.image_file, context.folder / files.text_file]
    exact = context.manifest.precisions[EXACT]
    targets = [context.scratch / IMAGE_FILE, context.scratch / TEXT_FILE]
    for source, target in zip((exact.image_file, exact.text_file), targets, strict=True):
        write_fp16(context.folder / source, target)
    return targets


def _prove(context: _BuildContext, precision: str, reporter: ProgressReporter) -> Parity:
    """Measure parity. Raises ParityFailed or GoldenMismatch, unless the plans are ungated."""
    image_file, text_file = plan_files(precision)
    encoder = TensorrtEncoder(context.staged / image_file, context.staged / text_file)
    spec, proof = context.manifest.text, context.proof
    encode = EncodeFunctions(encoder.encode_image, encoder.encode_text)
    found = measure_parity(proof.embedded, encode, proof.sample, partial(pad, spec=spec), reporter.advance)
    corners = profile_cosine_min(encoder, proof.sample, spec, context.build)
    found = found.model_copy(update={"batch_cosine_min": min(found.batch_cosine_min, corners)})
    parity = parity_with_model(found, context.manifest.precisions[EXACT].parity)
    if not _is_ungated(context):
        require_parity(parity, precision)
        tokenizer = TextTokenizer(context.staged / TOKENIZER_FILE, spec)
        check_golden(proof.golden, context.manifest, precision, tokenizer, encoder)
    return parity


def _is_ungated(context: _BuildContext) -> bool:
    """True if the user asked for it, or if the original version is itself ungated."""
    return context.request.ungated or context.manifest.ungated


def _draft(context: _BuildContext, made: dict[str, Precision]) -> ManifestDraft:
    """The original version's manifest with other precisions and source."""
    manifest = context.manifest
    kept = {key: getattr(manifest, key) for key in ManifestDraft.model_fields}
    digest = hashlib.sha256((context.folder / MANIFEST_FILE).read_bytes()).hexdigest()
    changed = {
        "precisions": made,
        "tensorrt": context.build,
        "ungated": _is_ungated(context),
        "source": {
            "kind": KIND,
            "version": f"{manifest.name}/{manifest.version}",
            "manifest_sha256": digest,
            "made_from": manifest.source,
            "diptych_training": version_of("diptych-training"),
        },
        "extra": {key: value for key, value in manifest.extra.items() if key == MATRYOSHKA_DIMENSIONS},
    }
    return ManifestDraft(**(kept | changed))


def _write_card(staged: Path, manifest: Manifest, build: TensorrtBuild, measured: dict[str, Parity]) -> None:
    """The original version's card with a section on the plans."""
    card = staged / CARD_FILE
    before = card.read_text(encoding="utf-8") if card.is_file() else f"# {manifest.name}\n"
    images, texts = (
        "; ".join(map(str, profiles)) for profiles in (build.image_profiles, build.text_profiles)
    )
    card.write_text(
        f"{before.rstrip()}\n\n## TensorRT\n\n"
        f"Plans of version {manifest.version}, only for {build}. "
        f"Image profiles: {images}. Text profiles: {texts}. Compared with the float32 graphs of that "
        "version; `cosine_min` includes the graphs' own distance from the model:\n\n"
        f"{parity_table(measured)}\n",
        encoding="utf-8",
    )

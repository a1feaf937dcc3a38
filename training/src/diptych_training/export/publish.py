"""Publish a training run as the next version of a model: write, prove, gate, publish."""

import shutil
import tempfile
from functools import cache, partial
from pathlib import Path

from diptych.bundle.golden import write_golden
from diptych.bundle.manifest import GOLDEN_FILE, Parity
from diptych.bundle.repository import ModelRepository
from diptych_training.checkpoint import TrainedRun, Which
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import ExportError
from diptych_training.evaluate.evaluated_model import evaluated_run, run_title
from diptych_training.evaluate.proof_set.file import PROOF_SET_FILE, read_proof_set_file
from diptych_training.evaluate.proof_set.proof_set import ProofSet
from diptych_training.evaluate.proof_set.samples import require_enough
from diptych_training.evaluate.results import Evaluation
from diptych_training.evaluate.torch_encoder import TorchEncoder
from diptych_training.export.manifest import ExportOptions, make_draft
from diptych_training.export.model_card.card import CARD_FILE, DATA_CARD_FILE, evaluated_dataset, model_card
from diptych_training.export.model_card.failures import (
    FAILURES_FILE,
    Failures,
    all_failures,
    failures_picture,
)
from diptych_training.export.onnx.bundle_files import write_model_files
from diptych_training.export.precisions import ExportContext, make_precisions
from diptych_training.export.proof.calibration import calibration_on_dataset
from diptych_training.export.proof.parity import row_cosines
from diptych_training.export.proof.prove import Proof, Reference, proof_on_dataset
from diptych_training.files import naming_full_disk
from diptych_training.models import PhotographsAndDrawingsConfig
from diptych_training.stages import ProgressReporter, Stages, files_table

N_ROUNDED = 64  # images that show what rounding the weights changes


def export_run(
    run: TrainedRun,
    dataset: PackedDataset,
    repository: ModelRepository,
    options: ExportOptions,
    reporter: ProgressReporter,
    *,
    calibrated_on: PackedDataset | None = None,
    proof_set: Path | None = None,
) -> int:
    """Publish the run as the next version of `options.name` and return that version.

    `dataset` proves the files, and its training images calibrate them unless `calibrated_on` is given.
    `proof_set` is a file that goes into the bundle byte for byte, and golden items are drawn from it; without
    one they are drawn from `dataset`.

    Raises ExportError if the evaluation is not of this run or a picture is invalid, TooFewSamples if the data
    set is too small for a proof (both before any work, the latter unless `ungated`), ParityFailed if the
    exported files do not match the model and `options` is not `ungated`, GoldenMismatch if this machine does
    not reproduce its own reference, DataError if the proof set is damaged. Nothing is published then.
    """
    if options.evaluation is not None:
        _require_evaluation_of(run, options.checkpoint, dataset, options.evaluation)
    options.assets.check()
    carried = None if proof_set is None else read_proof_set_file(proof_set)
    if not options.ungated:
        require_enough(dataset)
    stages = Stages(reporter)
    with repository.staging(options.name) as folder, naming_full_disk(folder.parent):
        context = _prepare(
            folder,
            run,
            dataset,
            options,
            reporter=reporter,
            stages=stages,
            calibrated_on=calibrated_on or dataset,
            carried=carried,
        )
        result = make_precisions(context, options.precisions, reporter, stages)
        draft = context.make_draft(result.published)
        write_golden(folder / GOLDEN_FILE, context.proof.golden)
        if proof_set is not None:
            shutil.copyfile(proof_set, folder / PROOF_SET_FILE)
        _write_cards(folder, run, dataset, options, result.measured, proof_set=carried)
        reporter.report(f"{stages.table()}\n\n{files_table(folder)}")
        stated = draft.model_copy(update={"extra": {**draft.extra, **result.reports}})
        return repository.publish(options.name, folder, stated)


def _require_evaluation_of(
    run: TrainedRun, checkpoint: Which, dataset: PackedDataset, evaluation: Evaluation
) -> None:
    """Raise ExportError if the evaluation is of another run, checkpoint or step, or on a data set that is
    neither the proof's nor the run's own.
    """
    title = run_title(run.folder, checkpoint, run.step)
    if evaluation.model != title:
        raise ExportError(
            f"the evaluation is of {evaluation.model!r}, the export is of {title!r}: "
            f"run `diptych-train evaluate --run {run.folder} --which {checkpoint}`"
        )
    if evaluated_dataset(run, dataset, evaluation) is None:
        raise ExportError(
            f"the evaluation is on data set {evaluation.dataset!r}, the export is proven on {dataset.name!r}"
        )


def _prepare(
    folder: Path,
    run: TrainedRun,
    dataset: PackedDataset,
    options: ExportOptions,
    *,
    reporter: ProgressReporter,
    stages: Stages,
    calibrated_on: PackedDataset,
    carried: ProofSet | None,
) -> ExportContext:
    """Write the float32 files and compute the reference that they are compared with."""
    with stages.stage("write graphs, weights and tokenizer"):
        model = write_model_files(run, folder, half_weights=options.half_weights)
    reference = Reference(TorchEncoder(model, run.image_spec), run.image_spec, run.text_spec)
    with (
        stages.stage("embed with the torch model"),
        tempfile.TemporaryDirectory(prefix="diptych-golden-") as scratch,
    ):
        golden = _golden_dataset(dataset, carried, run.image_spec.size, Path(scratch))
        proof = proof_on_dataset(folder, reference, dataset, reporter.advance, golden=golden)
    if options.half_weights:
        reporter.report(_rounding(run, proof))
    return ExportContext(
        folder=folder,
        proof=proof,
        make_draft=partial(make_draft, run, dataset, options),
        calibration=cache(
            partial(calibration_on_dataset, folder, calibrated_on, run.image_spec, run.text_spec)
        ),
        ungated=options.ungated,
        optimise=options.optimise,
        half_weights=options.half_weights,
    )


def _rounding(run: TrainedRun, proof: Proof) -> str:
    """Measure what rounding the weights changes: the proof compares with the rounded weights."""
    trained = TorchEncoder(run.model, run.image_spec).encode_image(proof.sample.pixels[:N_ROUNDED])
    cosines = row_cosines(trained, proof.embedded.images[:N_ROUNDED])
    return (
        f"weights rounded to float16: cosines of {len(cosines)} images to the trained model are at least "
        f"{cosines.min():.5f}, {cosines.mean():.6f} in the mean"
    )


def _golden_dataset(
    dataset: PackedDataset, carried: ProofSet | None, size: int, scratch: Path
) -> PackedDataset:
    """Return the data set that golden items are drawn from.

    It is the proof set of the bundle, if there is one: golden pictures are published with the bundle, and the
    user's own must not be.
    """
    if carried is None or carried.entries(size) == dataset.entries:
        return dataset
    return carried.unpack(scratch, size)


def _failures(run: TrainedRun, options: ExportOptions, proof_set: ProofSet | None) -> dict[str, Failures]:
    """What a model of photographs and drawings names wrongly in its proof set; none for other models."""
    if proof_set is None or not isinstance(run.model_config.image, PhotographsAndDrawingsConfig):
        return {}
    return all_failures(evaluated_run(run, options.name), proof_set)


def _write_cards(
    folder: Path,
    run: TrainedRun,
    dataset: PackedDataset,
    options: ExportOptions,
    parities: dict[str, Parity],
    *,
    proof_set: ProofSet | None,
) -> None:
    data_card = dataset.path / "CARD.md"
    if not data_card.is_file():
        raise ExportError(f"{data_card} is missing: a bundle must contain the data card of its data set")
    shutil.copyfile(data_card, folder / DATA_CARD_FILE)
    failures = _failures(run, options, proof_set)
    card = model_card(
        options.name,
        run,
        dataset,
        parities,
        options.evaluation,
        checkpoint=options.checkpoint,
        licence=options.licence_of(run),
        ungated=options.ungated,
        half_weights=options.half_weights,
        assets=options.assets,
        proof_set=proof_set,
        refreshed=options.refreshed,
        failures=failures,
    )
    options.assets.write(folder)
    if failures:
        (folder / FAILURES_FILE).write_bytes(failures_picture(failures, f"{options.name} (float32)"))
    (folder / CARD_FILE).write_text(card, encoding="utf-8")

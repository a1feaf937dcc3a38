"""Make a training run the next version of a model: write, prove, gate, publish; prints nothing."""

import shutil
from functools import cache, partial
from pathlib import Path

from diptych.bundle.golden import write_golden
from diptych.bundle.manifest import GOLDEN_FILE, Parity
from diptych.bundle.repository import ModelRepository
from diptych_training.checkpoint import TrainedRun, Which
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import ExportError
from diptych_training.evaluate.results import Evaluation
from diptych_training.evaluate.subject import run_title
from diptych_training.evaluate.torch_encoder import TorchEncoder
from diptych_training.export.manifest import Statement, make_draft
from diptych_training.export.model_card.card import CARD_FILE, DATA_CARD_FILE, model_card
from diptych_training.export.onnx.bundle_files import write_model_files
from diptych_training.export.precisions import Workshop, make_precisions
from diptych_training.export.proof.calibration import calibration_on_dataset
from diptych_training.export.proof.prove import Reference, proof_on_dataset
from diptych_training.export.proof.samples import require_enough
from diptych_training.stages import Stages, Watcher, files_table

__all__ = ["Watcher", "export_run"]


def export_run(
    run: TrainedRun,
    dataset: PackedDataset,
    repository: ModelRepository,
    statement: Statement,
    watcher: Watcher,
) -> int:
    """Publish the run as the next version of `statement.name` and return that version.

    Raises ExportError if the statement's evaluation is not of this run, or what it shows cannot be shown,
    TooFewSamples if the data set cannot prove it (both before any work, the latter unless `ungated`),
    ParityFailed if the exported files do not follow the model and the statement is not `ungated`,
    GoldenMismatch if this machine does not reproduce its own reference; nothing is published then.
    """
    if statement.evaluation is not None:
        _require_evaluation_of(run, statement.checkpoint, dataset, statement.evaluation)
    statement.shown.check()
    if not statement.ungated:
        require_enough(dataset)
    stages = Stages(watcher)
    with repository.staging(statement.name) as folder:
        workshop = _prepare(folder, run, dataset, statement, watcher=watcher, stages=stages)
        made = make_precisions(workshop, statement.precisions, watcher, stages)
        draft = workshop.make_draft(made.published)
        write_golden(folder / GOLDEN_FILE, workshop.proof.golden)
        _write_cards(folder, run, dataset, statement, made.measured)
        watcher.say(f"{stages.table()}\n\n{files_table(folder)}")
        stated = draft.model_copy(update={"extra": {**draft.extra, **made.reports}})
        return repository.publish(statement.name, folder, stated)


def _require_evaluation_of(
    run: TrainedRun, checkpoint: Which, dataset: PackedDataset, evaluation: Evaluation
) -> None:
    """Raises ExportError if it was measured on another run, checkpoint, step or data set."""
    title = run_title(run.folder, checkpoint, run.step)
    if evaluation.model != title:
        raise ExportError(
            f"the evaluation is of {evaluation.model!r}, the export is of {title!r}: "
            f"run `diptych-train evaluate --run {run.folder} --which {checkpoint}`"
        )
    if evaluation.dataset != dataset.name:
        raise ExportError(
            f"the evaluation is on data set {evaluation.dataset!r}, the export is proven on {dataset.name!r}"
        )


def _prepare(
    folder: Path,
    run: TrainedRun,
    dataset: PackedDataset,
    statement: Statement,
    *,
    watcher: Watcher,
    stages: Stages,
) -> Workshop:
    """Write the float32 files and what they are held against."""
    with stages.stage("write graphs, weights and tokenizer"):
        write_model_files(run, folder, half_weights=statement.half_weights)
    reference = Reference(TorchEncoder(run.model, run.image_spec), run.image_spec, run.text_spec)
    with stages.stage("embed with the torch model"):
        proof = proof_on_dataset(folder, reference, dataset, watcher.advance)
    return Workshop(
        folder=folder,
        proof=proof,
        make_draft=partial(make_draft, run, dataset, statement),
        calibration=cache(partial(calibration_on_dataset, folder, dataset, run.image_spec, run.text_spec)),
        ungated=statement.ungated,
        optimise=statement.optimise,
        half_weights=statement.half_weights,
    )


def _write_cards(
    folder: Path,
    run: TrainedRun,
    dataset: PackedDataset,
    statement: Statement,
    parities: dict[str, Parity],
) -> None:
    data_card = dataset.path / "CARD.md"
    if not data_card.is_file():
        raise ExportError(f"{data_card} is missing: a bundle must say what its weights learned from")
    shutil.copyfile(data_card, folder / DATA_CARD_FILE)
    card = model_card(
        statement.name,
        run,
        dataset,
        parities,
        statement.evaluation,
        checkpoint=statement.checkpoint,
        licence=statement.licence_of(run),
        ungated=statement.ungated,
        half_weights=statement.half_weights,
        shown=statement.shown,
    )
    statement.shown.write(folder)
    (folder / CARD_FILE).write_text(card, encoding="utf-8")

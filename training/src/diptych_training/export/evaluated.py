"""Whether a stored evaluation speaks of the run that is exported; knows nothing of its numbers."""

from diptych_training.checkpoint import TrainedRun, Which
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import ExportError
from diptych_training.evaluate.results import Evaluation
from diptych_training.evaluate.subject import run_title


def require_evaluation_of(
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

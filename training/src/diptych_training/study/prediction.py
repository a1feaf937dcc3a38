"""The prediction of a series: the laws of its smaller models, written before the larger ones are trained.

The file stands next to the results and is committed with them. The larger models are refused without it, and
their results name its sha256, so that anybody can see what came first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from diptych_training.files import write_text
from diptych_training.schema import Frozen, find_record
from diptych_training.study.cells import Cell, Run
from diptych_training.study.plan import Scaling
from diptych_training.study.results import Result
from diptych_training.study.scaling import FIGURES, Law, scaling_law, trained_models

FILE = "prediction.json"


class Prediction(Frozen):
    """The laws of a series, and the digests of the results that they are fitted on, by cell."""

    fitted: dict[str, str]
    laws: tuple[Law, ...]


@dataclass(frozen=True)
class WrittenPrediction:
    """A prediction, and the sha256 of its file."""

    prediction: Prediction
    sha256: str


def prediction_file(folder: Path) -> Path:
    """The file, in the folder of a plan's results."""
    return folder / FILE


def predict(
    part: Scaling, cells: Sequence[Cell], results: Mapping[str, Result], data: str
) -> Prediction | None:
    """The prediction from the results of the smaller models, by digest; None if one of them is not measured,
    or if there are too few.
    """
    fitted = _fitted(cells, data)
    if not all(digest in results for digest in fitted.values()):
        return None
    models = trained_models(part, [results[digest] for digest in fitted.values()])
    titles = {variant.name: variant.title for variant in part.variants}
    laws: list[Law] = []
    for tower in dict.fromkeys(one.tower for one in models):
        own = [one for one in models if one.tower == tower]
        larger = {
            titles[cell.variant]: cell.model.images * cell.model.flops_per_image(own[0].text_length)
            for cell in cells
            if cell.is_predicted
            and isinstance(cell.model, Run)
            and cell.model.config.model.image.kind == tower
        }
        found = (scaling_law(own, figure, list(larger.items())) for figure in FIGURES)
        laws += [law for law in found if law is not None]
    return Prediction(fitted=fitted, laws=tuple(laws)) if laws else None


def write_prediction(file: Path, prediction: Prediction) -> bool:
    """Write it, unless the same is there. Returns whether the file has changed."""
    if find_record(file, Prediction) == prediction:
        return False
    write_text(file, prediction.model_dump_json(indent=1) + "\n")
    return True


def current_prediction(file: Path, cells: Sequence[Cell], data: str) -> WrittenPrediction | None:
    """The file as it was written; None if there is none, or if it was fitted on results of other cells."""
    stored = find_record(file, Prediction)
    if stored is None or stored.fitted != _fitted(cells, data):
        return None
    return WrittenPrediction(stored, sha256(file.read_bytes()).hexdigest())


def _fitted(cells: Sequence[Cell], data: str) -> dict[str, str]:
    return {
        cell.name: cell.digest(data) for cell in cells if cell.part == "scaling" and not cell.is_predicted
    }

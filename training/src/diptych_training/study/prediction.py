"""The prediction of a series: the laws of its smaller models, written before the larger ones are trained.

The file stands next to the results and is committed with them. The larger models are refused without it, and
their results name its sha256, so that anybody can see what came first.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from diptych_training.files import write_text
from diptych_training.schema import Frozen, find_record
from diptych_training.study.cells import Cell, Run
from diptych_training.study.fits import Interval
from diptych_training.study.plan import Scaling
from diptych_training.study.results import Result
from diptych_training.study.scaling import FIGURES, Trained, scaling_law, trained_models

FILE = "prediction.json"


class PredictedFigure(Frozen):
    """A figure that a law predicts for a larger model, and the interval of 95% for what is found."""

    model: str
    flops: float
    value: float
    low: float
    high: float


class Law(Frozen):
    """The law of a figure for one kind of image tower: `scale` times FLOPs to the power `exponent`."""

    tower: str
    figure: str
    scale: float
    exponent: float
    exponent_low: float
    exponent_high: float
    r2: float
    predicted: tuple[PredictedFigure, ...]


class Prediction(Frozen):
    """The laws of a series, and the digests of the results that they are fitted on, by cell."""

    fitted: dict[str, str]
    laws: tuple[Law, ...]


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
    laws = []
    for tower in dict.fromkeys(one.tower for one in models):
        own = [one for one in models if one.tower == tower]
        larger = {
            titles[cell.variant]: cell.model.images * cell.model.flops_per_image(own[0].text_length)
            for cell in cells
            if cell.is_predicted
            and isinstance(cell.model, Run)
            and cell.model.config.model.image.kind == tower
        }
        laws += [law for figure in FIGURES if (law := _law(own, figure, larger)) is not None]
    return Prediction(fitted=fitted, laws=tuple(laws)) if laws else None


def write_prediction(file: Path, prediction: Prediction) -> bool:
    """Write it, unless the same is there. Returns whether the file has changed."""
    if find_record(file, Prediction) == prediction:
        return False
    write_text(file, prediction.model_dump_json(indent=1) + "\n")
    return True


def current_prediction(file: Path, cells: Sequence[Cell], data: str) -> str | None:
    """The sha256 of the file; None if there is none, or if it was fitted on results of other cells."""
    stored = find_record(file, Prediction)
    if stored is None or stored.fitted != _fitted(cells, data):
        return None
    return sha256(file.read_bytes()).hexdigest()


def _fitted(cells: Sequence[Cell], data: str) -> dict[str, str]:
    return {
        cell.name: cell.digest(data) for cell in cells if cell.part == "scaling" and not cell.is_predicted
    }


def _law(models: Sequence[Trained], figure: str, larger: Mapping[str, float]) -> Law | None:
    found = scaling_law(models, figure, list(larger.items()))
    if found is None:
        return None
    return Law(
        tower=found.tower,
        figure=figure,
        scale=found.law.scale,
        exponent=_rounded(found.law.exponent),
        exponent_low=_rounded(found.exponent.low),
        exponent_high=_rounded(found.exponent.high),
        r2=_rounded(found.law.r2),
        predicted=tuple(
            _figure(one.title, larger[one.title], one.value, one.interval) for one in found.predicted
        ),
    )


def _figure(model: str, flops: float, value: float, interval: Interval) -> PredictedFigure:
    low, value, high = map(_rounded, (interval.low, value, interval.high))
    return PredictedFigure(model=model, flops=flops, value=value, low=low, high=high)


def _rounded(value: float) -> float:
    return round(value, 6)

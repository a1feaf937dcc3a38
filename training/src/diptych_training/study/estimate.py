"""How long the cells that are left will take, from the speed of those that are measured."""

from collections.abc import Callable, Iterable, Sequence
from statistics import median

from diptych_training.study.cells.cell import Cell, Run
from diptych_training.study.cells.result import Result

FLOPS_PER_S, MEASURE_S = 3e10, 60.0  # of two cores, where nothing is measured yet


def seconds_of(
    cells: Iterable[Cell], results: Sequence[Result], step_of: Callable[[Run], int]
) -> list[float]:
    """Seconds to train and measure each of these cells, in this order. `step_of` says how far a run is."""
    reached: dict[str, int] = {}
    found = []
    for cell in cells:
        seconds = _measure_s(cell, results)
        if isinstance(cell.model, Run):
            run = cell.model
            at = reached.get(run.name, step_of(run))
            n_steps = cell.step - at if at <= cell.step else cell.step
            n_images = n_steps * run.config.run.batch_size
            seconds += n_images * run.flops_per_image / _flops_per_s(cell, results)
            reached[run.name] = cell.step
        found.append(seconds)
    return found


def _flops_per_s(cell: Cell, results: Sequence[Result]) -> float:
    """The median of the same variant, else of all."""
    rates = [
        (one.variant, one.images_per_s * one.flops / one.images)
        for one in results
        if one.images_per_s and one.flops and one.images
    ]
    return _likeliest(cell.variant, rates, FLOPS_PER_S)


def _measure_s(cell: Cell, results: Sequence[Result]) -> float:
    """The median of the same variant, else of the part."""
    return _likeliest(
        cell.variant, [(one.variant, one.measured_s) for one in results if one.part == cell.part], MEASURE_S
    )


def _likeliest(variant: str, known: Sequence[tuple[str, float]], otherwise: float) -> float:
    own = [value for name, value in known if name == variant]
    values = own or [value for _, value in known]
    return median(values) if values else otherwise

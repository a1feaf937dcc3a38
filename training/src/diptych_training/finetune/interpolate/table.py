"""What each share of the fine-tuned weights gains and loses, as one table; measures nothing."""

from dataclasses import dataclass

from diptych_training.evaluate.comparison import Task
from diptych_training.evaluate.results import Evaluation
from diptych_training.evaluate.table import TITLES, markdown_table


@dataclass(frozen=True)
class Mixed:
    """One alpha, measured on the new task's data set and on those of old ones."""

    alpha: float
    measured: tuple[tuple[Task, Evaluation], ...]


def interpolation_table(mixes: list[Mixed]) -> str:
    """Markdown: a row for each alpha; zero-shot top-1 of each kind of sources, and its change."""
    columns = [
        (f"{task}: {evaluation.dataset}/{evaluation.split} {TITLES[kind].lower()}", means.all.zero_shot[1])
        for task, evaluation in mixes[0].measured
        for kind, means in evaluation.means().items()
    ]
    header = ["alpha"]
    for title, _ in columns:
        header += [title, "change"]
    return markdown_table(header, [_row(mix, [first for _, first in columns]) for mix in mixes])


def _row(mix: Mixed, at_zero: list[float]) -> list[str]:
    scores = [means.all.zero_shot[1] for _, e in mix.measured for means in e.means().values()]
    cells = [f"{mix.alpha:g}"]
    for score, first in zip(scores, at_zero, strict=True):
        cells += [f"{score:.3f}", f"{score - first:+.3f}"]
    return cells

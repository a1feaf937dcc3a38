"""Comparison of two models on the same sources, as one table of gains and losses."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from diptych_training.data.packed import PackedDataset
from diptych_training.errors import EvaluationError
from diptych_training.evaluate.results import KINDS, Evaluation, Scores
from diptych_training.evaluate.table import TITLES
from diptych_training.reports.markdown import markdown_document, markdown_table
from diptych_training.schema import Frozen

Task = Literal["new", "old"]
HEADER = [
    "task", "source", "images",
    "top-1 before", "after", "change", "text_to_image R@1 before", "after", "change",
]  # fmt: skip


class Measured(Frozen):
    """One data set measured with both models: `new` is the task trained for, `old` one that was known
    before.
    """

    task: Task
    before: Evaluation
    after: Evaluation


class Comparison(Frozen):
    """The results of two models on all data sets."""

    schema_version: Literal[1] = 1
    measured: tuple[Measured, ...]


def without_source(dataset: PackedDataset, source: str) -> PackedDataset:
    """A data set without the source that has become the new task: it says nothing about the old task any
    more.
    """
    return replace(dataset, entries={name: e for name, e in dataset.entries.items() if name != source})


def require_different_data(new: PackedDataset, old: PackedDataset, split: str) -> None:
    """Raise EvaluationError if an old task is measured on the data of the new one."""
    if old.listed(split) and old.digest(split) == new.digest(split):
        raise EvaluationError(
            f"--also-on {old.path} has the same data in {split} as --data {new.path}: "
            "it cannot be the old task and the new one"
        )


def comparison_tables(comparison: Comparison) -> str:
    """Markdown with the means of each kind of sources, then every source."""
    first = comparison.measured[0]
    return markdown_document(
        [
            f"# {first.after.model}, before: {first.before.model}",
            "Zero-shot top-1 over the classes of each source, and text_to_image Recall@1 within it.",
            "## Means over sources",
            markdown_table(HEADER, [row for one in comparison.measured for row in _mean_rows(one)]),
            "## Sources",
            markdown_table(HEADER, [row for one in comparison.measured for row in _source_rows(one)]),
        ]
    )


def _mean_rows(measured: Measured) -> Iterator[list[str]]:
    before, after = measured.before.means(), measured.after.means()
    for kind in KINDS:
        if kind in before:
            n_sources = before[kind].n_sources
            title = f"{_place(measured.before)}: {n_sources} {TITLES[kind].lower()}"
            yield _row(f"**{measured.task}**", title, before[kind].all, after[kind].all)


def _source_rows(measured: Measured) -> Iterator[list[str]]:
    for before, after in zip(measured.before.sources, measured.after.sources, strict=True):
        yield _row(measured.task, before.source, before.all, after.all)


def _place(evaluation: Evaluation) -> str:
    return f"{evaluation.dataset}/{evaluation.split}"


def _row(task: str, name: str, before: Scores, after: Scores) -> list[str]:
    cells = [task, name, f"{before.n_images:,}"]
    for was, is_ in (
        (before.zero_shot[1], after.zero_shot[1]),
        (before.text_to_image[1], after.text_to_image[1]),
    ):
        cells += [f"{was:.3f}", f"{is_:.3f}", f"{is_ - was:+.3f}"]
    return cells

"""A measurement of a former default model says so above its tables, until it is made again."""

import re

import pytest

from support.documents import ROOT

DEFAULT_SINCE = "2026-11-30"  # `everyday`
MARK = "**Measured before `everyday` was the default"
BENCHMARKS = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
SECTIONS = {
    name: (head, tables)
    for head, name, tables in re.findall(
        r"^## [^\n]+\n((?:(?!^## ).)*?)<!-- ([\w-]+):begin -->\n(.*?)<!-- ",
        BENCHMARKS,
        re.DOTALL | re.MULTILINE,
    )
}
OF_THE_DEFAULT_MODEL = ["bench", "bench-store", "bench-rollout", "soak"]


@pytest.mark.parametrize("name", OF_THE_DEFAULT_MODEL)
def test_section_of_a_former_default_model_is_marked(name: str) -> None:
    head, tables = SECTIONS[name]
    date = re.search(r"\d{4}-\d\d-\d\d", tables)
    assert date is not None, f"the tables of {name} have no date"
    assert (MARK in head) == (date[0] < DEFAULT_SINCE)


def test_sizing_is_marked_while_its_figures_are() -> None:
    sizing = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    are_marked = [MARK in SECTIONS[name][0] for name in ("bench", "bench-store", "soak")]
    assert (MARK in sizing) == any(are_marked)


def test_no_newer_measurement_stands_below_a_mark() -> None:
    training = (ROOT / "docs" / "benchmarks-training.md").read_text(encoding="utf-8")
    marked = [section.partition(MARK)[2] for section in re.split(r"^## ", training, flags=re.MULTILINE)]
    dates = [date for part in marked for date in re.findall(r"\d{4}-\d\d-\d\d", part)]
    assert dates
    assert max(dates) < DEFAULT_SINCE

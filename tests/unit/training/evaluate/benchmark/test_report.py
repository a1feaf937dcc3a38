"""The HTML page of a benchmark: complete, self-contained and escaped."""

import numpy as np
import pytest

from diptych.bundle.encoder import Pixels
from diptych_training.evaluate.benchmark.report import benchmark_report
from diptych_training.evaluate.benchmark.results import Result
from support.benchmark_results import some_result
from support.html_pages import Page


def picture(data_set: str, index: int) -> Pixels:
    return np.full((40, 40, 3), index, np.uint8)


def full() -> list[Result]:
    return [
        some_result("icons-a", confusions=[("house", "home"), ("cog", "gear")]),
        some_result(
            "digits", group="digits", ensemble=0.2, probe=0.9, few_shot={1: [0.1, 0.2], 2: [0.4, 0.5]},
            confusions=[("three", "eight")],
        ),
        some_result("captions", task="retrieval", zero_shot={}, group="folder"),
    ]  # fmt: skip


def test_the_page_has_every_part() -> None:
    page = Page(benchmark_report(full(), picture).page())

    for part in (
        "Benchmark of tiny/1 (fp32)", "Measured on 3 data sets, 90 pictures", "zero-shot 35.0 points",
        "1 better, 1 worse", "Icon sets", "Zero-shot on each data set",
        "Zero-shot against a few examples", "examples a class", "Worst confusions", "three", "eight", "88%",
        "All figures", "Retrieval", "captions", "Templates", "an icon of {}",
    ):  # fmt: skip
        assert part in page.text
    assert page.of_class("bar") == 2
    assert page.of_class("ring") == 1
    assert len(page.attributes("img", "src")) == 3


def test_nothing_is_loaded_from_elsewhere_and_nothing_runs() -> None:
    html = benchmark_report(full(), picture).page()
    page = Page(html)

    assert all(src.startswith("data:image/webp;base64,") for src in page.attributes("img", "src"))
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in page.tags}
    assert "url(" not in html
    (policy,) = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", '"><img src=x>', "$title ${sections}", "</style>"]
)
def test_names_are_only_text(name: str) -> None:
    page = Page(benchmark_report([some_result(name, confusions=[(name, name)])], picture).page())
    plain = Page(benchmark_report([some_result("plain", confusions=[("a", "b")])], picture).page())

    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert name in page.text

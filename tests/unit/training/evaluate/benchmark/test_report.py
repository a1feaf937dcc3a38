"""The HTML page of a benchmark: complete, self-contained and escaped."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from diptych.bundle.encoder import Pixels
from diptych_training.evaluate.benchmark.curves import few_shot_svg
from diptych_training.evaluate.benchmark.report import MAX_CONFUSIONS, benchmark_report
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


def test_each_model_has_its_bar_and_its_confusions() -> None:
    other = [some_result("icons-a", model="mine (best, step 9)", confusions=[("sun", "moon")])]
    page = Page(benchmark_report([*full(), *other], picture).page())

    assert page.of_class("bar") == 3
    assert "Worst confusions of mine (best, step 9)" in page.text
    assert "Benchmark of tiny/1 (fp32) and mine (best, step 9)" in page.text


def test_bars_are_as_long_as_the_scores_and_the_best_is_first() -> None:
    results = [some_result("low", ensemble=0.25), some_result("high", ensemble=0.75)]
    html = benchmark_report(results, picture).page()

    assert re.findall(r'class="bar c0" style="width:([0-9.]+)%"', html) == ["75.00", "25.00"]
    assert html.index("<bdi>high</bdi>") < html.index("<bdi>low</bdi>")


def test_worst_confusions_of_all_data_sets_come_before_second_ones() -> None:
    many = [
        some_result(f"set {number}", confusions=[(f"first {number}", "x"), (f"second {number}", "y")])
        for number in range(MAX_CONFUSIONS - 1)
    ]
    page = Page(benchmark_report(many, picture).page())

    assert len(page.attributes("img", "src")) == MAX_CONFUSIONS
    assert f"first {MAX_CONFUSIONS - 2}" in page.text
    assert "second 0" in page.text
    assert "second 1" not in page.text


def test_pictures_that_are_not_at_hand_are_left_out() -> None:
    page = Page(benchmark_report(full(), lambda name, index: None).page())

    assert "Worst confusions" not in page.text


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", '"><img src=x>', "$title ${sections}", "</style>"]
)
def test_names_are_only_text(name: str) -> None:
    page = Page(benchmark_report([some_result(name, confusions=[(name, name)])], picture).page())
    plain = Page(benchmark_report([some_result("plain", confusions=[("a", "b")])], picture).page())

    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert name in page.text


def test_curve_has_a_line_a_dot_for_each_seed_and_zero_shot() -> None:
    result = some_result(ensemble=0.5, few_shot={1: [0.25, 0.75], 2: [1.0, 1.0]})

    svg = ElementTree.fromstring(few_shot_svg([result], [2]))

    circles = [(float(one.attrib["cx"]), float(one.attrib["cy"])) for one in svg.iter("circle")]
    (line,) = [one.attrib["d"] for one in svg.iter("path") if one.attrib["class"] == "line c2"]
    (zero,) = [one.attrib["d"] for one in svg.iter("path") if one.attrib["class"] == "zero c2"]
    first = tuple(map(float, line.removeprefix("M").partition("L")[0].split()))
    assert len(circles) == 4
    assert first[1] == pytest.approx((circles[0][1] + circles[1][1]) / 2)
    assert float(re.findall(r" ([0-9.]+)H", zero)[0]) == pytest.approx(first[1])  # both are 0.5


def test_a_curve_of_one_point_is_drawn() -> None:
    ElementTree.fromstring(few_shot_svg([some_result(few_shot={2: [0.5]})], [0]))


def test_tables_have_means_probes_and_curves() -> None:
    text = benchmark_report(full(), picture).markdown()

    assert "**mean of 1**" in text
    rows = [line for line in text.splitlines() if line.startswith("| digits ")]
    assert rows[0].split()[-2] == "90.0"
    assert [cell.strip() for cell in rows[-1].split("|")[2:-1]] == ["20.0", "15.0", "45.0", "90.0", "1.1"]

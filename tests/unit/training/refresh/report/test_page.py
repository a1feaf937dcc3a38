"""The HTML page: complete, self-contained, escaped and small."""

import base64
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from diptych_training.refresh.evaluation.evaluate import choose_alpha
from diptych_training.refresh.report.curve import draw_curve
from diptych_training.refresh.report.report import MAX_BYTES, report_page, write_report
from support.html_pages import Page
from support.reports import evaluation, small_report


def test_the_page_has_every_part(tmp_path):
    page = Page(report_page(small_report(tmp_path)))

    for part in (
        "mine/1: what was gained and lost", "Made of pictograms/5, 9 March 2026", "Gained and lost",
        "Your pictures: top-1 20.0 before, 60.0 now", "your pairs, held out", "of it: emoji styles",
        "How much of the new weights was kept", "Three of your searches", "Searches that gained most",
        "Searches that lost most", "Pictures that are right now", "Pictures that are wrong now",
        "rank 4 before, 1 after", "100 pairs, 2 unreadable", 'name = "mine"', "What to do next",
        "Shipped pictures: emoji by nobody (MIT).",
    ):  # fmt: skip
        assert part in page.text
    # three searches thrice with ten pictures each, and three pictures twice
    assert len(page.attributes("img", "src")) == 3 * 3 * 10 + 2 * 3


def test_author_and_licence_of_the_pictures_are_shown_if_they_are_stated(tmp_path):
    report = small_report(tmp_path)
    assert "Your pictures: by nobody (MIT)." in Page(report_page(report)).text

    unknown = replace(report.own.entries["held-out"], author="unknown", licence="unknown")
    silent = replace(report, own=replace(report.own, entries={"held-out": unknown}))
    assert "Your pictures: " not in Page(report_page(silent)).text.partition("What to do next")[2]

    evil = replace(unknown, author="<b>a</b>")
    credited = replace(report, own=replace(report.own, entries={"held-out": evil}))
    assert "Your pictures: by <b>a</b>." in Page(report_page(credited)).text


def test_nothing_is_loaded_from_elsewhere_and_nothing_runs(tmp_path):
    html = report_page(small_report(tmp_path))
    page = Page(html)

    assert all(src.startswith("data:image/webp;base64,") for src in page.attributes("img", "src"))
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in page.tags}
    assert "url(" not in html
    assert "@import" not in html
    (policy,) = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_inlined_pictures_are_those_of_the_data_sets_and_small(tmp_path):
    report = small_report(tmp_path, size=256)
    first = Page(report_page(report)).attributes("img", "src")[-1]

    with Image.open(io.BytesIO(base64.b64decode(first.partition(",")[2]))) as image:
        shown = image.convert("RGB").resize((4, 4))
    with Image.fromarray(report.shipped.source("emoji").images[2]) as original:
        expected = original.resize((4, 4))
    assert image.size == (112, 112)
    assert np.abs(np.asarray(shown, dtype=int) - np.asarray(expected, dtype=int)).max() < 40


@pytest.mark.parametrize(
    "caption",
    [
        "<script>alert(1)</script>",
        '"><img src=https://example.com/x onerror=alert(1)>',
        "$title ${sections} $$",
        "</style></title></pre>",
        "' onmouseover='x",
    ],
)
def test_captions_are_only_text(tmp_path, caption):
    report = small_report(tmp_path, caption=caption)
    page = Page(report_page(report))

    plain = Page(report_page(small_report(tmp_path / "plain")))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert {name for _, attributes in page.tags for name in attributes} == {
        name for _, attributes in plain.tags for name in attributes
    }
    assert f"{caption} 0" in page.text


def test_texts_of_other_parts_are_only_text(tmp_path):
    report = small_report(tmp_path)
    hostile = "</pre><script>x</script>"
    changed = {"pairs": hostile, "recipe": f"# {hostile}", "next_steps": [hostile], "name": hostile}
    page = Page(report_page(type(report)(**{**vars(report), **changed})))

    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count(hostile) == 5  # the name in the title and the heading


def test_empty_parts_are_left_out(tmp_path):
    report = small_report(tmp_path, n=0)
    page = Page(report_page(type(report)(**{**vars(report), "pairs": "", "recipe": " \n", "next_steps": []})))

    assert [
        title
        for title in ("Your pairs", "The recipe", "Searches that", "Pictures that", "next")
        if title in page.text
    ] == []
    assert page.attributes("img", "src") == []


def test_the_page_stays_small_with_many_noisy_pictures_and_long_texts(tmp_path):
    report = small_report(tmp_path, size=112, caption="long " * 200, n=24)
    noise = "x" * 500_000
    longer = type(report)(**{**vars(report), "pairs": noise, "recipe": noise})

    html = report_page(longer)

    assert len(html.encode()) <= MAX_BYTES
    assert "(400,000 more characters)" in html


def test_lists_are_halved_until_the_page_fits(tmp_path, monkeypatch):
    report = small_report(tmp_path, size=112, n=24)
    whole = report_page(report)
    monkeypatch.setattr("diptych_training.refresh.report.report.MAX_BYTES", len(whole) // 2)

    smaller = report_page(report)

    assert len(smaller.encode()) <= len(whole) // 2
    assert 0 < smaller.count("<img") < whole.count("<img") / 1.5


def points_of(svg: str) -> Iterator[list[tuple[float, float]]]:
    """The points of the drawn lines: of the shipped set first."""
    for path in re.findall(r'class="line [a-z]+" d="M([^"]+)"', svg):
        yield [(float(x), float(y)) for x, y in (pair.split() for pair in path.split("L"))]


def test_the_curve_has_a_point_for_each_mix_at_its_height():
    measured = evaluation({0: 20, 0.5: 60, 1: 80}, {0: 80, 0.5: 70, 1: 20})
    svg = draw_curve(measured, choose_alpha(measured))

    ElementTree.fromstring(svg)
    shipped, own = points_of(svg)
    assert [x for x, _ in shipped] == [x for x, _ in own]
    assert own[0][1] == shipped[2][1]  # 20 both
    assert own[2][1] == shipped[0][1]  # 80 both
    middle = (own[0][1] + own[2][1]) / 2
    assert own[1][1] == pytest.approx(middle - (own[0][1] - own[2][1]) / 6, abs=0.1)
    assert "alpha 0.5: 60.0" in svg


@pytest.mark.parametrize(
    "measured",
    [
        evaluation({0: None, 0.5: None}, {0: 0, 0.5: 0}),
        evaluation({0: 100, 0.5: 100}, {0: 100, 0.5: 100}),
        evaluation({0: 50, 0.5: 50}, {0: 50, 0.5: 50}),
    ],
)
def test_curves_without_own_pairs_or_at_the_ends_of_the_scale_are_drawn(measured):
    svg = draw_curve(measured, choose_alpha(measured))

    ElementTree.fromstring(svg)
    heights = [y for line in points_of(svg) for _, y in line]
    assert all(0 < y < 300 for y in heights)


def test_a_report_is_written_twice_with_the_same_bytes(tmp_path):
    report = small_report(tmp_path)

    page = write_report(tmp_path / "out", report)
    first = page.read_bytes(), (tmp_path / "out" / "report.md").read_bytes()
    write_report(tmp_path / "out", report)

    assert page == tmp_path / "out" / "report.html"
    assert (page.read_bytes(), (tmp_path / "out" / "report.md").read_bytes()) == first

"""The HTML page: complete, self-contained, escaped and small."""

import pytest

from diptych_training.refresh.report.report import MAX_BYTES, report_page
from support.html_pages import Page
from support.reports import small_report


def test_the_page_has_every_part(tmp_path):
    page = Page(report_page(small_report(tmp_path)))

    for part in (
        "mine/1: what was gained and lost", "Made of pictograms/5, 9 March 2026", "Gained and lost",
        "Gained: your pictures: top-1 20.0 before, 60.0 now (+40.0) among your labels",
        "your pairs, held out",
        "the same among all labels", "of it: drawings", "of it: photographs",
        "How much of the new weights was kept", "Three of your searches", "Searches that gained most",
        "Searches that lost most", "Pictures that are right now", "Pictures that are wrong now",
        "rank 4 before, 1 after", "100 pairs, 2 unreadable", 'name = "mine"', "What to do next",
        "Shipped pictures: emoji by nobody (MIT).",
    ):  # fmt: skip
        assert part in page.text
    # three searches thrice with ten pictures each, and three pictures twice
    assert len(page.attributes("img", "src")) == 3 * 3 * 10 + 2 * 3


def test_nothing_is_loaded_from_elsewhere_and_nothing_runs(tmp_path):
    html = report_page(small_report(tmp_path))
    page = Page(html)

    assert all(src.startswith("data:image/webp;base64,") for src in page.attributes("img", "src"))
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in page.tags}
    assert "url(" not in html
    assert "@import" not in html
    (policy,) = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


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


def test_the_page_stays_small_with_many_noisy_pictures_and_long_texts(tmp_path):
    report = small_report(tmp_path, size=112, caption="long " * 200, n=24)
    noise = "x" * 500_000
    longer = type(report)(**{**vars(report), "pairs": noise, "recipe": noise})

    html = report_page(longer)

    assert len(html.encode()) <= MAX_BYTES
    assert "(400,000 more characters)" in html

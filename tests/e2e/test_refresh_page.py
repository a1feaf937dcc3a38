"""The page of a refresh in a real browser: as a file, in light and dark, in wide and narrow windows."""

from pathlib import Path

import pytest

from diptych_training.refresh.report.report import write_report
from support.reports import small_report

pytestmark = pytest.mark.browser

BRIGHTNESS = """(selector) => {
  const [r, g, b] = getComputedStyle(document.querySelector(selector)).%s.match(/[0-9.]+/g).map(Number);
  return (r + g + b) / 3;
}"""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a report with long and hostile captions."""
    folder = tmp_path_factory.mktemp("report")
    caption = f"<img src=https://example.com/x onerror=document.title='bad'> {'long' * 30}"
    return write_report(folder / "out", small_report(folder, caption=caption))


@pytest.mark.parametrize("width", [390, 1280])
def test_page_is_whole_without_network_and_not_wider_than_the_window(new_page, page_file, width):
    opened = new_page(viewport={"width": width, "height": 800}, offline=True)

    opened.page.goto(page_file.as_uri())

    assert opened.page.title() == "mine/1: what was gained and lost"
    assert [url for url in opened.requests if not url.startswith(("data:", "file:"))] == []
    sizes = opened.page.evaluate("[...document.images].map((image) => image.complete && image.naturalWidth)")
    assert len(sizes) > 50
    assert set(sizes) == {32}
    assert opened.page.evaluate("document.documentElement.scrollWidth") == width
    assert opened.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(new_page, page_file, scheme):
    opened = new_page(color_scheme=scheme, offline=True)

    opened.page.goto(page_file.as_uri())

    ground = opened.page.evaluate(BRIGHTNESS % "backgroundColor", "section")
    for selector in ("h1", "section p", "td", "pre", "svg .tick", ".found figcaption", ".note"):
        style = "fill" if selector.startswith("svg") else "color"
        assert abs(opened.page.evaluate(BRIGHTNESS % style, selector) - ground) > 90
    assert (ground < 128) == (scheme == "dark")

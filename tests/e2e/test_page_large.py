"""The page at / with ten thousand pictures: few nodes, however far one scrolls."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from diptych_client import Client
from support.browser import Watched
from support.server import RunningServer, serve
from support.tiny_bundle import TINY

pytestmark = pytest.mark.browser
N_PICTURES = 10_000
MAX_NODES = 500
MAX_SCRIPT_MS = 50
N_FRAMES = 60
SCROLL = """async (steps) => {
  const height = document.documentElement.scrollHeight - innerHeight;
  for (let step = 0; step <= steps; step += 1) {
    scrollTo(0, (height * step) / steps);
    await new Promise(requestAnimationFrame);
  }
}"""
ONE_FRAME = """async (share) => {
  scrollTo(0, (document.documentElement.scrollHeight - innerHeight) * share);
  await new Promise(requestAnimationFrame);
}"""


@pytest.fixture(scope="module")
def server(tiny_repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Ready-made vectors stand for the pictures: there is nothing to decode."""
    with serve(tiny_repo, TINY, tmp_path_factory.mktemp("large")) as running, Client(running.url) as client:
        model = client.embed(texts=["red"]).model
        rows = (
            np.random.default_rng(0).normal(size=(N_PICTURES, client.version().embed_dim)).astype(np.float32)
        )
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        metadata = [
            {
                "name": f"picture {i}",
                "year": 2000 + i % 25,
                "file": {"modified": f"{2000 + i // 400}-{1 + i // 40 % 10:02}-01"},
            }
            for i in range(N_PICTURES)
        ]
        ids = [f"p{i:05}" for i in range(N_PICTURES)]
        client.add_vectors(rows, model=model, ids=ids, metadata=metadata)
        yield running


@pytest.mark.long
def test_frame_of_a_scroll_through_ten_thousand_runs_little_script(
    new_page: Callable[..., Watched], server: RunningServer
) -> None:
    page = new_page(viewport={"width": 2560, "height": 1440}).page
    page.goto(server.url)
    expect(page.locator(".tile .caption").first).to_have_text("picture 0")
    devtools = page.context.new_cdp_session(page)
    # The time of the processor: other programs on this machine do not count.
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})

    def script_ms() -> float:
        metrics = devtools.send("Performance.getMetrics")["metrics"]
        return 1000 * next(metric["value"] for metric in metrics if metric["name"] == "ScriptDuration")

    taken = [script_ms()]
    for frame in range(1, N_FRAMES + 1):
        page.evaluate(ONE_FRAME, frame / N_FRAMES)
        taken.append(script_ms())
    assert max(np.diff(taken)) < MAX_SCRIPT_MS


def test_ten_thousand_pictures_are_scrolled_with_few_nodes(
    new_page: Callable[..., Watched], server: RunningServer
) -> None:
    page: Page = new_page(viewport={"width": 2560, "height": 1440}).page
    page.goto(server.url)
    expect(page.locator("#find-status")).to_have_text("10,000 pictures")
    page.evaluate(SCROLL, 20)
    expect(page.locator(".tile .caption", has_text="picture 9999")).to_be_visible(timeout=60_000)
    assert page.evaluate("document.querySelectorAll('body *').length") < MAX_NODES
    page.locator("[data-index] a").last.focus()
    page.keyboard.press("Home")
    expect(page.locator("[data-index='0'] .caption")).to_have_text("picture 0")


def test_slider_of_months_goes_to_pictures_that_were_not_read_and_the_size_keeps_the_place(
    new_page: Callable[..., Watched], server: RunningServer
) -> None:
    page = new_page().page
    page.goto(f"{server.url}/#/search?order=file.modified")
    slider = page.get_by_role("slider", name="Go to")
    expect(slider).to_have_attribute("aria-valuetext", "January 2000")
    slider.fill("200")
    expect(slider).to_have_attribute("aria-valuetext", "January 2020")
    first = page.locator(".tile .caption", has_text="picture 8000")
    expect(first).to_be_in_viewport(timeout=30_000)
    slider.press("ArrowDown")
    expect(slider).to_have_attribute("aria-valuetext", "February 2020")
    slider.press("ArrowUp")
    expect(first).to_be_in_viewport()
    slider.blur()
    for _ in range(2):
        page.keyboard.press("+")
    expect(page.get_by_label("Size of the pictures")).to_have_value("4")
    expect(first).to_be_in_viewport()
    in_rows = page.get_by_role("button", name="Whole pictures in rows")
    in_rows.dispatch_event("click")  # without scrolling to it
    expect(first).to_be_in_viewport()

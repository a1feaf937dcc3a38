"""The page on a phone: pictures are near the top, results next to what they are of, and a finger goes on."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from support.browser import Watched
from support.pictures import picture
from support.server import RunningServer

pytestmark = pytest.mark.browser
HEIGHT = 844
MOST_ABOVE = 160
SWIPE = """(stage, [from, to]) => {
  const touch = (clientX) => new Touch({ identifier: 1, target: stage, clientX, clientY: 200 });
  const send = (type, touches, changed) => stage.dispatchEvent(
    new TouchEvent(type, { touches, changedTouches: changed, bubbles: true }));
  send("touchstart", [touch(from)], [touch(from)]);
  send("touchend", [], [touch(to)]);
}"""


@pytest.fixture
def opened(new_page: Callable[..., Watched], gallery_server: RunningServer) -> Iterator[Page]:
    watched = new_page(viewport={"width": 390, "height": HEIGHT}, has_touch=True, is_mobile=True)
    watched.page.goto(gallery_server.url)
    expect(watched.page.locator(".tile").first).to_be_visible()
    yield watched.page
    assert watched.complaints == []


def top_of(part: Locator) -> float:
    box = part.bounding_box()
    assert box is not None
    return box["y"]


@pytest.mark.parametrize("matched", [["meaning"], []], ids=["not sure", "nothing fits well"])
def test_hint_of_a_guess_leaves_the_first_picture_near_the_top(opened: Page, matched: list[str]) -> None:
    def judge(route: Route) -> None:
        response = route.fetch()
        answer = response.json()
        for hit in answer["hits"]:
            hit.update(relevance=0.05, matched_fields=[], matched=matched)
        route.fulfill(response=response, json=answer)

    opened.set_viewport_size({"width": 360, "height": HEIGHT})
    opened.route("**/search", judge)
    opened.fill("#query", "submarine")
    expect(opened.locator("#find-status")).to_contain_text("Try other words")
    assert top_of(opened.locator(".tile").first) <= MOST_ABOVE


def test_first_picture_is_near_the_top(opened: Page) -> None:
    assert top_of(opened.locator(".tile").first) <= MOST_ABOVE
    opened.fill("#query", "red")
    expect(opened.locator("#find-status")).to_be_visible()
    expect(opened.locator(".tile .caption").first).to_have_text("red")
    assert top_of(opened.locator(".tile").first) <= MOST_ABOVE


@pytest.mark.parametrize("width", [360, 390])
def test_first_visit_says_what_the_pictures_are_and_how_to_add_others(opened: Page, width: int) -> None:
    opened.set_viewport_size({"width": width, "height": HEIGHT})
    welcome = opened.locator(".welcome")
    expect(welcome).to_have_text("Samples, until you add yours.", use_inner_text=True)
    expect(welcome).to_be_in_viewport(ratio=1)
    expect(opened.get_by_role("link", name="a red panda")).to_be_in_viewport(ratio=1)
    line = opened.locator("#examples")
    assert line.evaluate("({ offsetHeight }) => offsetHeight") < 30  # one line
    assert line.evaluate("({ scrollWidth, clientWidth }) => scrollWidth <= clientWidth")  # nothing is cut
    assert top_of(opened.locator(".tile").first) <= MOST_ABOVE


@pytest.mark.parametrize("width", [360, 390])
def test_all_views_are_in_sight(opened: Page, width: int) -> None:
    opened.set_viewport_size({"width": width, "height": HEIGHT})
    views = opened.get_by_role("navigation", name="Views")
    assert views.evaluate("views => views.scrollWidth <= views.clientWidth")


def test_bars_are_in_sight_with_the_pictures_that_they_are_of(opened: Page) -> None:
    opened.get_by_role("link", name="Classify").click()
    colours = ("red", "blue", "green")
    opened.set_input_files(
        "#file", [{"name": f"{c}.png", "mimeType": "image/png", "buffer": picture(c)} for c in colours]
    )
    expect(opened.get_by_text("3 of 3 pictures classified")).to_be_visible()
    opened.evaluate("scrollTo(0, 0)")
    expect(opened.locator(".strip button").first).to_be_in_viewport(ratio=1)
    expect(opened.locator("#bars li").nth(4)).to_be_in_viewport(ratio=1)


def test_portrait_is_no_higher_than_its_button(opened: Page) -> None:
    opened.get_by_role("link", name="Classify").click()
    tall = [
        {"name": f"{c}.png", "mimeType": "image/png", "buffer": picture(c, (30, 90))} for c in ("red", "blue")
    ]
    opened.set_input_files("#file", tall)
    image = opened.locator(".strip img").first
    expect(image).to_have_js_property("complete", True)
    inner, outer = image.bounding_box(), opened.locator(".strip button").first.bounding_box()
    assert inner is not None
    assert outer is not None
    assert outer["y"] <= inner["y"] < inner["y"] + inner["height"] <= outer["y"] + outer["height"]


def test_swipe_goes_to_the_next_picture_and_back(opened: Page) -> None:
    opened.locator(".tile a").first.click()
    name = opened.locator("dialog.picture h2")
    first = name.inner_text()
    stage = opened.locator(".picture-stage")
    stage.evaluate(SWIPE, [300, 100])
    expect(name).not_to_have_text(first)
    stage.evaluate(SWIPE, [100, 300])
    expect(name).to_have_text(first)
    opened.evaluate("Object.defineProperty(visualViewport, 'scale', { value: 2 })")
    stage.evaluate(SWIPE, [300, 100])
    opened.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    expect(name).to_have_text(first)  # the finger moves around in the enlarged picture

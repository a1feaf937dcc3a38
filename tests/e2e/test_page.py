"""The page at / in a real browser, against a real server process with the tiny model."""

import base64
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import FilePayload, Page, expect

from support.browser import Watched
from support.pictures import picture
from support.server import RunningServer

pytestmark = pytest.mark.browser

DISPATCH_PICTURE = """([selector, kind, data]) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], "picture.png", { type: "image/png" }));
  const event = kind === "paste"
    ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true })
    : new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true });
  document.querySelector(selector).dispatchEvent(event);
}"""


def upload(payload: bytes, media_type: str = "image/png") -> FilePayload:
    return {"name": "picture.png", "mimeType": media_type, "buffer": payload}


def set_labels(page: Page, *labels: str) -> None:
    """Leave exactly these labels."""
    while page.locator(".chip").count():
        page.locator(".chip button").first.click()
    for label in labels:
        page.fill("#new-label", label)
        page.press("#new-label", "Enter")
    expect(page.locator(".chip")).to_have_count(len(labels))


def dispatch_picture(page: Page, selector: str, kind: str, payload: bytes) -> None:
    page.evaluate(DISPATCH_PICTURE, [selector, kind, base64.b64encode(payload).decode()])


@pytest.fixture
def opened(new_page: Callable[..., Watched], gallery_server: RunningServer) -> Iterator[Page]:
    """The page with its gallery; afterwards nothing may have left the origin, and nothing complained."""
    watched = new_page()
    watched.page.goto(gallery_server.url)
    expect(watched.page.locator(".tile")).to_have_count(26)
    yield watched.page
    assert watched.foreign_requests(gallery_server.url) == []
    assert watched.complaints == []


def test_page_opens_with_the_gallery_and_names_the_model(opened: Page) -> None:
    expect(opened.locator("#find-status")).to_have_text("26 pictures")
    expect(opened.locator("#model")).to_contain_text("tiny version 1, fp32")
    expect(opened.locator("#credit")).to_have_text("Pictures: plain by nobody, CC0-1.0")
    expect(opened.locator("#drawings-only")).to_be_hidden()
    thumbnail = opened.locator(".tile img").first
    expect(thumbnail).to_have_js_property("complete", True)
    assert thumbnail.evaluate("image => image.naturalWidth") > 0


def test_search_by_words_shows_the_best_hit_first(opened: Page) -> None:
    opened.fill("#query", "red")
    opened.press("#query", "Enter")
    expect(opened.locator("#find-status")).to_contain_text("of 26 pictures")
    expect(opened.locator(".tile .caption").first).to_have_text("red")


@pytest.mark.long
def test_search_can_be_gone_back_from_and_bookmarked(opened: Page) -> None:
    opened.fill("#query", "blue")
    opened.press("#query", "Enter")
    expect(opened.locator(".tile .caption").first).to_have_text("blue")
    opened.reload()
    expect(opened.locator(".tile .caption").first).to_have_text("blue")
    expect(opened.locator("#query")).to_have_value("blue")
    opened.go_back()
    expect(opened.locator("#find-status")).to_have_text("26 pictures")


@pytest.mark.long
def test_click_on_a_hit_finds_pictures_like_it(opened: Page) -> None:
    opened.locator(".tile", has_text="green").click()
    expect(opened.locator("#query-picture")).to_contain_text("Pictures like “green”")
    expect(opened.locator(".tile")).to_have_count(25)
    expect(opened.locator(".tile", has_text="green")).to_have_count(0)
    opened.get_by_role("button", name="Show all").click()
    expect(opened.locator(".tile")).to_have_count(26)


def test_chosen_file_gets_label_bars_best_first(opened: Page) -> None:
    set_labels(opened, "blue", "red", "green")
    opened.set_input_files("#file", upload(picture("red")))
    expect(opened.locator("#bars li")).to_have_count(3)
    expect(opened.locator("#bars .label").first).to_have_text("red")
    expect(opened.locator("#name-status")).to_contain_text("of 3 labels")
    scores = [float(text.strip("<% ")) for text in opened.locator("#bars .score").all_inner_texts()]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.long
def test_dropped_file_gets_label_bars(opened: Page) -> None:
    set_labels(opened, "yellow", "black")
    dispatch_picture(opened, ".drop", "drop", picture("black"))
    expect(opened.locator("#bars .label").first).to_have_text("black")


@pytest.mark.long
def test_pasted_picture_gets_label_bars(opened: Page) -> None:
    set_labels(opened, "yellow", "black")
    dispatch_picture(opened, "body", "paste", picture("yellow"))
    expect(opened.locator("#bars .label").first).to_have_text("yellow")


@pytest.mark.long
def test_tile_dragged_over_the_hinge_is_named_by_the_gallery_names(opened: Page) -> None:
    opened.locator("#use-own-names").check()
    opened.locator(".tile", has_text="white").drag_to(opened.locator(".drop"))
    expect(opened.locator("#bars .label").first).to_have_text("white")


@pytest.mark.long
def test_edited_label_is_tried_at_once_and_a_comma_stays_in_it(opened: Page) -> None:
    set_labels(opened, "something", "blue")
    opened.set_input_files("#file", upload(picture("green")))
    expect(opened.locator("#bars li")).to_have_count(2)
    opened.locator(".chip input").first.fill("green, plain")
    opened.locator(".chip input").first.press("Enter")
    expect(opened.locator("#bars .label").first).to_have_text("green, plain")


@pytest.mark.long
def test_uploaded_picture_finds_pictures_like_it(opened: Page) -> None:
    opened.set_input_files("#file", upload(picture("blue", size=(90, 30))))
    opened.get_by_role("button", name="Find pictures like this one").click()
    expect(opened.locator("#query-picture")).to_contain_text("Pictures like yours")
    expect(opened.locator(".tile .caption").first).to_have_text("blue")


@pytest.mark.long
def test_page_is_used_without_a_mouse(opened: Page) -> None:
    opened.locator("#query").focus()
    opened.keyboard.type("yellow")
    opened.keyboard.press("Enter")
    expect(opened.locator("#find-status")).to_contain_text("of 26 pictures")
    opened.locator(".tile").first.focus()
    opened.keyboard.press("Enter")
    expect(opened.locator("#query-picture")).to_contain_text("Pictures like “yellow”")
    naming = opened.get_by_role("button", name="Name it")
    naming.focus()
    opened.keyboard.press("Enter")
    expect(opened.locator("#bars li").first).to_be_visible()


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_window_shows_everything_without_sideways_scrolling(
    new_page: Callable[..., Watched], gallery_server: RunningServer, scheme: str
) -> None:
    watched = new_page(viewport={"width": 360, "height": 740}, color_scheme=scheme)
    watched.page.goto(gallery_server.url)
    expect(watched.page.locator(".tile")).to_have_count(18)
    watched.page.set_input_files("#file", upload(picture("red")))
    expect(watched.page.locator("#bars li").first).to_be_visible()
    watched.page.get_by_role("button", name="Show more").click()
    expect(watched.page.locator(".tile")).to_have_count(26)
    assert watched.page.evaluate("document.documentElement.scrollWidth") == 360
    ground = watched.page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    )
    assert (max(ground) < 60) == (scheme == "dark")
    assert watched.complaints == []


def test_api_description_loads_nothing_from_elsewhere(
    new_page: Callable[..., Watched], gallery_server: RunningServer
) -> None:
    watched = new_page()
    watched.page.goto(f"{gallery_server.url}/docs")
    expect(watched.page.locator(".opblock", has_text="/classify").first).to_be_visible()
    assert watched.foreign_requests(gallery_server.url) == []
    assert watched.complaints == []

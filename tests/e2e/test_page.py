"""The page at / in a real browser, against a real server with the tiny model: search and its pictures."""

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import FilePayload, Page, expect

from support.browser import Watched
from support.pictures import picture
from support.server import RunningServer

pytestmark = pytest.mark.browser
MAX_BYTES = 165_000  # compressed, without headers


def upload(payload: bytes, media_type: str = "image/png") -> FilePayload:
    return {"name": "picture.png", "mimeType": media_type, "buffer": payload}


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
    thumbnail = opened.locator(".tile img").first
    expect(thumbnail).to_have_js_property("complete", True)
    assert thumbnail.evaluate("image => image.naturalWidth") > 0
    opened.locator("#examples a").first.click()
    expect(opened.locator("#query")).to_have_value("a red panda")
    expect(opened.locator("#find-status")).to_contain_text("of 26 pictures")


def test_page_is_small_and_its_modules_are_all_announced(
    new_page: Callable[..., Watched], gallery_server: RunningServer
) -> None:
    page = new_page().page
    page.goto(gallery_server.url)
    expect(page.locator(".tile")).to_have_count(26)
    entries = page.evaluate(
        """() => performance.getEntriesByType("resource").concat(performance.getEntriesByType("navigation"))
          .map(({ name, encodedBodySize }) => [new URL(name).pathname, encodedBodySize])"""
    )
    loaded = {path: size for path, size in entries if path == "/" or path.startswith("/assets/")}
    assert sum(loaded.values()) < MAX_BYTES
    announced = page.locator("link[rel=modulepreload]").evaluate_all(
        "links => links.map(({ href }) => new URL(href).pathname)"
    )
    modules = {path for path in loaded if path.endswith(".js") and path != "/assets/js/main.js"}
    assert modules == set(announced)


def test_field_keeps_its_width_while_one_types(opened: Page) -> None:
    before = opened.locator("#query").bounding_box()
    opened.locator("#query").press_sequentially("red", delay=20)
    expect(opened.get_by_role("button", name="Add as part")).to_be_visible()
    assert opened.locator("#query").bounding_box() == before


def test_search_follows_the_typing_and_is_one_step_of_the_history(opened: Page) -> None:
    opened.locator("#query").press_sequentially("red", delay=20)
    expect(opened.locator("#find-status")).to_contain_text("of 26 pictures")
    expect(opened.locator(".tile .caption").first).to_have_text("red")
    opened.press("#query", "Enter")
    opened.locator("#query").fill("blue")
    expect(opened.locator(".tile .caption").first).to_have_text("blue")
    opened.go_back()
    expect(opened.locator("#query")).to_have_value("red")
    expect(opened.locator(".tile .caption").first).to_have_text("red")
    opened.go_back()
    expect(opened.locator("#find-status")).to_have_text("26 pictures")
    expect(opened.locator("#query")).to_have_value("")


def test_click_on_a_picture_opens_it_and_a_link_leads_there_again(
    opened: Page, new_page: Callable[..., Watched]
) -> None:
    opened.locator(".tile", has_text="green").click()
    dialog = opened.get_by_role("dialog", name="green")
    expect(dialog.get_by_text("CC0-1.0").first).to_be_visible()
    expect(dialog.get_by_text("64 × 64")).to_be_visible()
    shown = dialog.locator(".picture-stage img")
    expect(shown).to_have_js_property("naturalWidth", 64)
    expect(dialog.locator(".strip button")).to_have_count(12)
    other = new_page().page
    other.goto(opened.url)
    expect(other.get_by_role("dialog", name="green")).to_be_visible()
    opened.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(opened.locator(".tile")).to_have_count(26)


@pytest.mark.long
@pytest.mark.parametrize(
    "address", ["#/collections/100%", "#/search?only=[1]", "#/search?part=t:a*0", "#/nowhere"]
)
def test_address_that_nobody_made_still_shows_a_view(
    new_page: Callable[..., Watched], gallery_server: RunningServer, address: str
) -> None:
    watched = new_page()
    watched.page.goto(f"{gallery_server.url}/{address}")
    expect(watched.page.locator(".tile, .empty").first).to_be_visible()
    assert watched.complaints == []


def test_more_like_this_leaves_the_picture_itself_out(opened: Page) -> None:
    opened.locator(".tile", has_text="green").click()
    opened.get_by_role("button", name="More like this").click()
    expect(opened.locator(".part")).to_contain_text("like green")
    expect(opened.locator(".tile")).to_have_count(25)
    expect(opened.locator(".tile .caption", has_text="green")).to_have_count(0)
    opened.get_by_role("button", name="Remove green").click()
    expect(opened.locator(".tile")).to_have_count(26)


def test_words_and_a_picture_are_mixed_with_weights_from_minus_to_plus(opened: Page) -> None:
    opened.fill("#query", "red")
    expect(opened.locator(".tile .caption").first).to_have_text("red")
    opened.locator(".tile", has_text="blue").first.click()
    opened.get_by_role("button", name="Not like this").click()
    weight = opened.get_by_label("Weight of blue")
    expect(weight).to_have_value("-0.5")
    expect(opened.locator(".tile .caption").first).to_have_text("red")
    mixes = [[{"text": "red"} | text, {"id": "blue", "weight": 1}] for text in ({}, {"weight": 1})]
    # Requests of the weight before may still come.
    with opened.expect_request(
        lambda sent: sent.post_data is not None and sent.post_data_json["query"] in mixes
    ):
        weight.fill("1")
    opened.reload()
    expect(opened.get_by_label("Weight of blue")).to_have_value("1")
    with opened.expect_request(
        lambda sent: sent.url.endswith("/search") and "blue" not in (sent.post_data or "blue")
    ):
        opened.get_by_label("Weight of blue").fill("0")
    expect(opened.get_by_label("Weight of blue")).to_have_value("0")


@pytest.mark.long
def test_picture_of_the_user_is_searched_with(opened: Page) -> None:
    opened.get_by_label("Search with a picture").set_input_files(upload(picture("blue", size=(90, 30))))
    expect(opened.locator(".part")).to_contain_text("picture.png")
    expect(opened.locator(".tile .caption").first).to_have_text("blue")
    opened.reload()
    expect(opened.locator(".notice")).to_contain_text("only the tab knows")


def first_line_of(code: str) -> str:
    """What Python code prints first."""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ran.stdout.splitlines()[0]


def test_search_is_shown_as_code_that_works(opened: Page) -> None:
    opened.fill("#query", "it's red")
    expect(opened.locator(".tile .caption").first).to_have_text("red")
    opened.locator(".tile a").first.click()
    opened.get_by_text("This search as code").click()
    expect(opened.locator(".snippets pre")).to_contain_text("curl -s http")
    expect(opened.locator(".snippets pre")).to_contain_text("it'\\''s red")
    opened.get_by_role("tab", name="Python").click()
    assert first_line_of(opened.locator(".snippets pre").inner_text()).startswith("red ")
    opened.get_by_role("tab", name="JavaScript").click()
    expect(opened.locator(".snippets pre")).to_contain_text('import { Client } from "diptych-client"')
    opened.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    opened.locator(".snippets").get_by_role("button", name="Copy").click()
    expect(opened.locator(".snippets").get_by_role("button", name="Copied")).to_be_visible()


def test_page_is_used_without_a_mouse(opened: Page) -> None:
    opened.locator("#query").focus()
    opened.keyboard.type("yellow")
    opened.keyboard.press("Enter")
    expect(opened.locator(".tile .caption").first).to_have_text("yellow")
    opened.locator(".tile a").first.focus()
    opened.keyboard.press("ArrowRight")
    expect(opened.locator("[data-index='1'] a")).to_be_focused()
    opened.keyboard.press("End")
    expect(opened.locator("[data-index='25'] a")).to_be_focused()
    opened.keyboard.press("Home")
    opened.keyboard.press("Enter")
    expect(opened.get_by_role("dialog", name="yellow")).to_be_visible()
    opened.keyboard.press("ArrowRight")
    expect(opened.get_by_role("dialog", name="yellow")).to_have_count(0)
    opened.keyboard.press("ArrowLeft")
    expect(opened.get_by_role("dialog", name="yellow")).to_be_visible()
    opened.keyboard.press("Escape")
    expect(opened.get_by_role("dialog")).to_have_count(0)
    opened.keyboard.press("/")
    expect(opened.locator("#query")).to_be_focused()
    assert opened.locator(".tile a[tabindex='0']").count() == 1  # one stop for Tab, however many pictures


@pytest.mark.parametrize(
    ("width", "scheme"), [(360, "dark"), (1440, "light"), pytest.param(2560, "dark", marks=pytest.mark.long)]
)
def test_no_width_scrolls_sideways(
    new_page: Callable[..., Watched], gallery_server: RunningServer, width: int, scheme: str
) -> None:
    watched = new_page(viewport={"width": width, "height": 740}, color_scheme=scheme)
    page = watched.page
    for view in (
        "search",
        "classify",
        "label",
        "collections",
        "collections/gallery",
        "models",
        "models/tiny/1",
        "status",
    ):
        page.goto(f"{gallery_server.url}/#/{view}")
        expect(page.locator("main")).not_to_be_empty()
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, view
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (max(ground) < 60) == (scheme == "dark")
    assert watched.complaints == []

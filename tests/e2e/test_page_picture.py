"""One picture, large, on the page at /: the slideshow of a result, and a link to share."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from support.browser import Watched
from support.server import RunningServer

pytestmark = pytest.mark.browser
FIVE_S = 5000


def heading(page: Page) -> str:
    return page.get_by_role("dialog").get_attribute("aria-label") or ""


def test_slideshow_goes_through_the_result_until_a_key_or_its_end(
    new_page: Callable[..., Watched], gallery_server: RunningServer
) -> None:
    page = new_page().page
    page.clock.install()
    page.goto(f'{gallery_server.url}/#/search?only={{"kind":["colour"]}}')
    captions = page.locator(".tile .caption")
    expect(captions).to_have_count(6)
    names = captions.all_text_contents()
    page.locator(".tile a").nth(2).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_have_accessible_name(names[2])
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="More like this")).to_be_hidden()
    page.clock.run_for(FIVE_S)
    expect(dialog).to_have_accessible_name(names[3])
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="More like this")).to_be_visible()
    page.clock.run_for(FIVE_S)
    expect(dialog).to_have_accessible_name(names[3])
    dialog.get_by_label("Pace").select_option("3 s")
    dialog.get_by_role("button", name="Slideshow").click()
    for name in [*names[4:], names[5]]:
        page.clock.run_for(3000)
        expect(dialog).to_have_accessible_name(name)
    expect(page.get_by_role("button", name="More like this")).to_be_visible()


def test_shared_link_shows_the_same_picture_of_the_same_search(
    new_page: Callable[..., Watched], gallery_server: RunningServer
) -> None:
    page = new_page(permissions=["clipboard-read", "clipboard-write"]).page
    page.goto(gallery_server.url)
    page.fill("#query", "red")
    expect(page.locator("#find-status")).to_contain_text("of 26 pictures")
    page.locator(".tile a").first.click()
    page.get_by_role("button", name="Share").click()
    expect(page.get_by_text("Link copied")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    other = new_page().page
    other.goto(link)
    expect(other.get_by_role("dialog", name="red")).to_be_visible()
    expect(other.locator("#query")).to_have_value("red")
    expect(other.locator("#collection")).to_have_value("gallery")

"""Which collection the page at / shows, and which one it adds to: the samples stay as they are."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from e2e.conftest import wait_until_filled, write_gallery
from support.browser import Watched
from support.pictures import picture
from support.server import RunningServer, serve
from support.tiny_bundle import TINY, write_tiny_bundle

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Watched]
MINE = {"name": "mine.png", "mimeType": "image/png", "buffer": picture("red", size=(40, 30))}


@pytest.fixture
def server(tiny_repo: Path, tmp_path: Path) -> Iterator[RunningServer]:
    """One as `make serve` starts it: a gallery, and a default collection that is empty."""
    gallery = write_gallery(tmp_path / "pictures")
    with serve(tiny_repo, TINY, tmp_path / "data", "--gallery", str(gallery)) as running:
        wait_until_filled(running.url)
        yield running


def opened(new_page: OpenPage, server: RunningServer, hash_: str = "") -> Page:
    page = new_page().page
    page.goto(f"{server.url}/{hash_}")
    return page


def n_images(server: RunningServer, collection: str) -> int:
    told = httpx.get(f"{server.url}/collections/{collection}", verify=False).json()
    return int(told["n_images"])


def add(server: RunningServer, collection: str, name: str, payload: bytes) -> None:
    url = f"{server.url}/collections/{collection}"
    httpx.post(f"{server.url}/collections", json={"name": collection}, verify=False)
    files = {"image": payload}
    items = f'[{{"metadata": {{"file": "{name}"}}}}]'
    httpx.post(f"{url}/images", files=files, data={"items": items}, verify=False).raise_for_status()


def test_gallery_is_shown_while_the_own_collection_is_empty_and_nothing_is_added_to_it(
    new_page: OpenPage, server: RunningServer
) -> None:
    page = opened(new_page, server)
    expect(page.locator("#collection")).to_have_value("gallery")
    expect(page.locator("#find-status")).to_have_text("26 pictures")
    expect(page.locator("#examples")).to_contain_text("Sample pictures, until you add yours")
    page.set_input_files("#add-files", MINE)
    expect(page.locator("#adding-status")).to_have_text("1 picture: 1 added")
    expect(page.locator("#collection")).to_have_value("default")
    expect(page.locator("#find-status")).to_have_text("1 picture")
    expect(page.locator(".tile .caption")).to_have_text("mine.png")
    expect(page.locator("#examples")).to_have_count(0)
    expect(page.locator("#credit")).to_have_count(0)
    assert (n_images(server, "default"), n_images(server, "gallery")) == (1, 26)
    page.select_option("#collection", "gallery")
    expect(page.locator("#examples a").first).to_be_visible()
    expect(page.locator(".welcome")).to_have_count(0)
    page.fill("#query", "blue")
    expect(page.locator(".tile .caption").first).to_have_text("blue")
    page.reload()
    expect(page.locator("#collection")).to_have_value("gallery")
    expect(page.locator(".tile .caption").first).to_have_text("blue")
    again = opened(new_page, server)
    expect(again.locator("#collection")).to_have_value("default")


def test_collection_is_created_filled_renamed_and_deleted(new_page: OpenPage, server: RunningServer) -> None:
    page = opened(new_page, server, "#/collections")
    page.get_by_role("button", name="New collection").click()
    page.get_by_label("Name").fill("Not Allowed")
    page.get_by_role("button", name="Create").click()
    assert page.get_by_label("Name").evaluate("input => input.validity.patternMismatch")
    page.get_by_label("Name").fill("holiday")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", name="Collections / holiday")).to_be_visible()
    page.set_input_files("#add-files", MINE)
    expect(page.locator("#adding-status")).to_have_text("1 picture: 1 added")
    facts = page.get_by_role("region", name="Facts")
    expect(facts).to_contain_text("tiny version 1, fp32")
    assert n_images(server, "holiday") == 1
    settings = page.get_by_role("region", name="Settings")
    settings.get_by_label("Name").fill("gallery")
    settings.get_by_role("button", name="Rename").click()
    expect(settings.get_by_role("alert")).to_contain_text("gallery")
    settings.get_by_label("Name").fill("summer")
    settings.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("heading", name="Collections / summer")).to_be_visible()
    page.get_by_role("button", name="Delete the collection").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete it").click()
    expect(page.get_by_role("heading", name="2 collections")).to_be_visible()
    names = {one["name"] for one in httpx.get(f"{server.url}/collections").json()["collections"]}
    assert names == {"default", "gallery"}


def test_duplicates_are_shown_side_by_side_and_deleted(new_page: OpenPage, server: RunningServer) -> None:
    add(server, "mine", "small.png", picture("blue", size=(30, 20)))
    add(server, "mine", "large.png", picture("blue", size=(300, 200)))
    page = opened(new_page, server, "#/collections/mine")
    page.get_by_role("button", name="Look for duplicates").click()
    expect(page.locator(".groups figure")).to_have_count(2)
    expect(page.locator(".groups")).to_contain_text("300 × 200")
    page.get_by_role("button", name="Delete small.png").press("Enter")
    expect(page.locator(".groups figure")).to_have_count(0)
    expect(page.get_by_role("region", name="Duplicates").get_by_role("status")).to_be_focused()
    expect(page.get_by_text("1 picture deleted")).to_be_visible()
    page.get_by_role("tab", name="the same file").click()
    expect(page.get_by_text("None: every picture is there once.")).to_be_visible()


def test_collection_opens_with_its_pictures(new_page: OpenPage, server: RunningServer) -> None:
    page = opened(new_page, server, "#/collections/gallery")
    expect(page.locator(".samples img")).to_have_count(12)
    add(server, "mine", "small.png", picture("blue", size=(30, 20)))
    page.goto(f"{server.url}/#/collections/mine")
    parts = [
        page.locator(".samples"),
        *(page.get_by_role("region", name=n) for n in ("Add pictures", "Facts")),
    ]
    for part in parts:
        expect(part).to_be_visible()
    tops = [part.evaluate("part => part.getBoundingClientRect().top") for part in parts]
    assert tops == sorted(tops)
    page.locator(".samples").click()
    expect(page.locator("#collection")).to_have_value("mine")


@pytest.mark.long
def test_collection_that_no_version_serves_says_why_and_offers_no_adding(
    new_page: OpenPage, tiny_repo: Path, tmp_path: Path
) -> None:
    data, others = tmp_path / "data", tmp_path / "others"
    with serve(tiny_repo, TINY, data) as running:
        httpx.post(f"{running.url}/collections", json={"name": "mine", "keep": "none"}).raise_for_status()
        add(running, "mine", "sea.png", picture("blue", size=(30, 20)))
    shutil.rmtree(data / "models")
    write_tiny_bundle(others, seed=1)
    with serve(others, TINY, data) as running:
        page = opened(new_page, running, "#/collections/mine")
        expect(page.locator(".tag")).to_have_text("unserved")
        facts = page.get_by_role("region", name="Facts")
        expect(facts.locator(".notice")).to_contain_text("tiny/1 in fp32 cannot be loaded")
        expect(facts.locator(".notice")).to_contain_text("1 of 1 rows keep no image that could be embedded")
        expect(facts).to_contain_text("of tiny, which is not served")
        expect(page.get_by_role("region", name="Settings")).to_be_visible()
        expect(page.get_by_role("region", name="Add pictures")).to_have_count(0)


def test_empty_collections_are_one_line_below_those_with_pictures(
    new_page: OpenPage, server: RunningServer
) -> None:
    page = opened(new_page, server, "#/collections")
    cards = page.locator(".card")
    expect(cards.locator("h3")).to_have_text(["gallery", "default"])
    expect(page.locator(".samples img")).not_to_have_count(0)
    box = cards.last.bounding_box()
    assert box is not None
    assert box["height"] < 80


def test_card_of_a_library_that_waits_says_why_and_what_is_missing(
    new_page: OpenPage, server: RunningServer
) -> None:
    library = {"name": "gallery", "state": "waiting", "reason": "no disk", "n_missing": 48, "n_problems": 1}
    page = opened(new_page, server)
    page.route("**/libraries", lambda route: route.fulfill(json={"libraries": [library]}))
    page.goto(f"{server.url}/#/collections")
    card = page.locator(".card").filter(has=page.get_by_role("link", name="gallery"))
    expect(card.locator(".status")).to_have_text(["waits: no disk", "48 missing, 1 problem"])

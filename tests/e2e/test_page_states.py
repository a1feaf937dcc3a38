"""What the page at / says when things are missing, slow or wrong."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Route, expect

from diptych_client import Client
from support.browser import Watched
from support.pictures import picture
from support.server import RunningServer, serve
from support.tiny_bundle import TINY

pytestmark = pytest.mark.browser

NewPage = Callable[..., Watched]
KEY = "a-key-of-the-tests"


@pytest.fixture(scope="module")
def locked_empty_server(tiny_repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with an API key and no pictures."""
    with serve(tiny_repo, TINY, tmp_path_factory.mktemp("locked"), "--api-key", KEY) as running:
        yield running


def test_empty_collection_says_how_to_fill_it_once_the_key_is_given(
    new_page: NewPage, locked_empty_server: RunningServer
) -> None:
    page = new_page().page
    page.goto(locked_empty_server.url)
    expect(page.get_by_text("The server refused that key.")).to_be_hidden()
    page.get_by_label("API key").fill("ключ")
    page.keyboard.press("Enter")
    expect(page.locator("#key:invalid")).to_be_visible()
    page.get_by_label("API key").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_text("The server refused that key.")).to_be_visible()
    expect(page.get_by_label("API key")).to_have_value("")
    page.get_by_label("API key").fill(KEY)
    page.keyboard.press("Enter")
    expect(page.locator(".empty")).to_contain_text("No pictures here yet")
    expect(page.locator(".empty code")).to_have_text(
        f"diptych add --url {locked_empty_server.url} --collection default FOLDER"
    )
    page.reload()
    expect(page.locator(".empty")).to_be_visible()
    expect(page.locator("#key-dialog")).to_be_hidden()
    page.fill("#query", "red")
    expect(page).to_have_url(re.compile("q=red"))
    expect(page.locator(".empty")).to_contain_text("No pictures here yet")


NOTE_EARLY_RELEASES = """
    globalThis.early = [];
    const revoke = URL.revokeObjectURL.bind(URL);
    URL.revokeObjectURL = (url) => {
        setTimeout(() => { if ([...document.images].some(({ src }) => src === url)) early.push(url); });
        revoke(url);
    };"""


def test_picture_that_is_read_with_a_key_is_released_once_another_one_is_shown(
    new_page: NewPage, locked_empty_server: RunningServer
) -> None:
    page = new_page().page
    page.add_init_script(NOTE_EARLY_RELEASES)
    with Client(locked_empty_server.url, KEY) as client:
        client.create_collection("pets")
        client.add([picture("red", size=(600, 600))], ids=["red"], collection="pets")
        held: list[Route] = []

        def hold(route: Route) -> None:
            held.append(route)

        page.route("**/images/red", hold)
        page.goto(f"{locked_empty_server.url}/#/?collection=pets")
        page.get_by_label("API key").fill(KEY)
        page.keyboard.press("Enter")
        page.locator(".tile a").click()
        shown = page.locator(".picture-stage img")
        expect(shown).to_have_attribute("src", re.compile("^blob:"))
        reduced = shown.get_attribute("src") or ""
        for route in held:
            route.continue_()
        expect(shown).not_to_have_attribute("src", reduced)
        assert page.evaluate("early") == []
        client.drop_collection("pets")


@pytest.mark.long
def test_revoked_key_is_asked_for_once(new_page: NewPage, locked_empty_server: RunningServer) -> None:
    with Client(locked_empty_server.url, KEY) as client:
        made = client.create_key("visitor")
        page = new_page().page
        page.goto(f"{locked_empty_server.url}/#/collections")
        page.get_by_label("API key").fill(made.key)
        page.keyboard.press("Enter")
        expect(page.get_by_role("link", name="default", exact=True)).to_be_visible()
        client.revoke_key(made.prefix)
    expect(page.locator("#key-dialog")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_timeout(4000)  # the view has read the collections again
    expect(page.locator("#key-dialog")).to_be_hidden()


def test_read_only_server_offers_no_changes(new_page: NewPage, tiny_repo: Path, tmp_path: Path) -> None:
    with serve(tiny_repo, TINY, tmp_path / "data"):
        pass
    with serve(tiny_repo, TINY, tmp_path / "data", "--read-only") as server:
        page = new_page().page
        page.goto(server.url)
        expect(page.locator(".empty")).to_contain_text("This server is read-only")
        expect(page.get_by_text("Add pictures")).to_have_count(0)
        page.goto(f"{server.url}/#/collections")
        expect(page.locator(".card")).to_have_count(1)
        expect(page.get_by_role("button", name="New collection")).to_have_count(0)


def test_file_that_is_no_image_shows_the_servers_own_words(
    new_page: NewPage, gallery_server: RunningServer
) -> None:
    page = new_page().page
    page.goto(f"{gallery_server.url}/#/classify")
    page.set_input_files("#file", {"name": "a.txt", "mimeType": "text/plain", "buffer": b"only words"})
    expect(page.locator(".problem")).to_contain_text("Unsupported image")
    expect(page.locator(".problem")).to_contain_text(re.compile("Request [0-9a-zA-Z-]+"))
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": picture("red")})
    expect(page.locator("#bars li").first).to_be_visible()


def test_search_without_a_server_waits_and_goes_on_by_itself(
    new_page: NewPage, gallery_server: RunningServer
) -> None:
    page = new_page().page
    page.goto(gallery_server.url)
    expect(page.locator(".tile").first).to_be_visible()
    page.route("**/search", lambda route: route.abort())
    page.route("**/readyz", lambda route: route.abort())
    page.fill("#query", "red")
    expect(page.locator("#model")).to_contain_text("no answer from the server")
    expect(page.get_by_text("This page goes on as soon as it is back.").first).to_be_visible()
    page.unroute("**/search")
    page.unroute("**/readyz")
    expect(page.locator(".tile .caption").first).to_have_text("red")
    expect(page.locator("#model")).to_contain_text("tiny version 1")


@pytest.mark.long
def test_error_of_a_search_is_shown_and_can_be_retried(
    new_page: NewPage, gallery_server: RunningServer
) -> None:
    page = new_page().page
    page.goto(gallery_server.url)
    expect(page.locator(".tile").first).to_be_visible()
    broken = {"title": "Internal error", "detail": "it is in the log", "request_id": "abc123"}
    page.route("**/search", lambda route: route.fulfill(status=500, json=broken))
    page.fill("#query", "red")
    expect(page.locator(".problem")).to_contain_text("it is in the log")
    expect(page.locator(".problem")).to_contain_text("Request abc123")
    page.unroute("**/search")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".tile .caption").first).to_have_text("red")
    expect(page.locator(".problem")).to_have_count(0)


@pytest.mark.parametrize(
    ("status", "title", "reason"),
    [
        (503, "Not ready yet", "collection 'gallery' is being loaded: 3 of 9"),
        (429, "The server is busy", "64 images wait already"),
    ],
)
def test_search_that_has_to_wait_says_why_and_is_asked_again_by_itself(
    new_page: NewPage, gallery_server: RunningServer, status: int, title: str, reason: str
) -> None:
    page = new_page().page
    page.route(
        "**/search", lambda route: route.fulfill(status=status, json={"title": "Sorry", "detail": reason})
    )
    page.goto(f"{gallery_server.url}/#/search?q=red")
    expect(page.locator(".empty")).to_contain_text(title)
    expect(page.locator(".empty")).to_contain_text(reason)
    expect(page.locator(".problem")).to_have_count(0)
    page.unroute("**/search")
    expect(page.locator(".tile .caption").first).to_have_text("red")


def test_key_that_may_only_read_one_collection_is_offered_nothing_else(
    new_page: NewPage, locked_empty_server: RunningServer
) -> None:
    with Client(locked_empty_server.url, KEY) as client:
        client.create_collection("pets")
        client.add([picture("red")], ids=["red"], collection="pets")
        client.create_collection("secret")
        token = client.create_key("visitor", collections=["pets"]).key
    page = new_page().page
    page.goto(locked_empty_server.url)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#model")).to_have_text("a key is needed")
    page.get_by_role("button", name="Enter a key").click()
    page.get_by_label("API key").fill(token)
    page.keyboard.press("Enter")
    expect(page.locator(".tile img")).to_have_count(1)
    expect(page.get_by_text("secret")).to_have_count(0)
    expect(page.locator("#add-files")).to_have_count(0)
    page.locator(".tile a").click()
    expect(page.get_by_role("button", name="More like this")).to_be_visible()
    expect(page.get_by_role("button", name="Delete")).to_have_count(0)
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Collections").click()
    expect(page.get_by_role("button", name="New collection")).to_have_count(0)
    page.get_by_role("link", name="Status").click()
    expect(page.get_by_text("“visitor”: read")).to_be_visible()
    expect(page.get_by_role("button", name="New key")).to_have_count(0)
    with Client(locked_empty_server.url, KEY) as client:
        for name in ("pets", "secret"):
            client.drop_collection(name)


@pytest.mark.parametrize(
    ("tower", "drawings_only"),
    [({}, True), ({"image_tower_from": "EfficientNet-Lite0"}, False)],
    ids=["trained on drawings alone", "with a tower of photographs"],
)
def test_model_of_drawings_alone_says_so_and_no_photographs_are_suggested(
    new_page: NewPage, gallery_server: RunningServer, tower: dict[str, str], drawings_only: bool
) -> None:
    def as_pictograms(route: Route) -> None:
        models = route.fetch().json()
        models["models"][0]["source"] = {"kind": "training", "dataset": "pictograms", **tower}
        route.fulfill(json=models)

    page = new_page().page
    page.route("**/models", as_pictograms)
    page.goto(gallery_server.url)
    expect(page.locator("#examples a")).to_have_count(5 if drawings_only else 9)
    page.get_by_role("link", name="Classify").click()
    expect(page.locator(".chip").first).to_be_visible()
    expect(page.locator("#drawings-only")).to_be_visible(visible=drawings_only)


def test_authors_are_credited_one_by_one_and_strange_metadata_run_nothing(
    new_page: NewPage, gallery_server: RunningServer
) -> None:
    no_text = {"toString": 1, "valueOf": 1}  # for scripts, an object that cannot become a text
    taken = {"author": "somebody else", "licence": "CC-BY-4.0"}
    markup = "<img src=https://example.com/x onerror=document.title='bad'>"

    def with_strange_metadata(route: Route) -> None:
        found = route.fetch().json()
        found["images"][1]["metadata"] = {"author": "somebody", "source": no_text}
        found["images"][4]["metadata"] = {"name": "a cat", **taken, "source": "https://example.org/picture"}
        found["images"][5]["metadata"] = {**taken, "source": "javascript:alert(1)"}
        found["images"][2]["metadata"] = dict.fromkeys(["name", "style", "author", "licence"], no_text)
        found["images"][3]["metadata"] = dict.fromkeys(["name", "author", "source"], markup)
        route.fulfill(json=found)

    watched = new_page()
    page = watched.page
    page.route("**/collections/gallery/images?*", with_strange_metadata)
    page.goto(gallery_server.url)
    expect(page.locator(".tile").nth(3)).to_contain_text(markup)
    page.get_by_text("and 4 more").click()
    others = ["a cat by somebody else, CC-BY-4.0", "by somebody else, CC-BY-4.0"]
    expect(page.locator("#credit li")).to_have_text(
        ["plain by nobody, CC0-1.0", "by somebody", f"by {markup}", *others]
    )
    expect(page.locator("#credit").get_by_role("link")).to_have_count(1)
    expect(page.locator("#credit").get_by_role("link")).to_have_attribute(
        "href", "https://example.org/picture"
    )
    assert page.title() == "diptych"
    assert watched.foreign_requests(gallery_server.url) == watched.complaints == []

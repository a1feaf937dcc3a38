"""Filters of the page from the metadata of a collection, with their counts."""

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from diptych_client import Client
from support.browser import Watched
from support.pictures import noise
from support.server import RunningServer, serve
from support.tiny_bundle import TINY

pytestmark = pytest.mark.browser
N_PICTURES = 12
KINDS = ("photograph", "drawing", "plan")  # 2, 4 and 6 pictures
ROOMS = ("hall", "attic")


def metadata_of(i: int) -> dict[str, object]:
    kind = KINDS[0] if i < 2 else KINDS[1] if i < 6 else KINDS[2]
    return {
        "kind": kind,
        "room": ROOMS[i % 2],
        "height": i,
        "taken_at": f"2024-{1 + i:02}-15T10:00:00",
        "owner": "all of them have the same",
        "camera": {"make": f"make {i % 3}", "mm": 10 * i},
    }


@pytest.fixture(scope="module")
def server(tiny_repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serve(tiny_repo, TINY, tmp_path_factory.mktemp("filters") / "data") as running:
        with Client(running.url) as client:
            client.add(
                [noise(i) for i in range(N_PICTURES)],
                ids=[f"noise-{i}" for i in range(N_PICTURES)],
                metadata=[metadata_of(i) for i in range(N_PICTURES)],
            )
        yield running


@pytest.fixture
def opened(new_page: Callable[..., Watched], server: RunningServer) -> Iterator[Page]:
    watched = new_page()
    watched.page.goto(server.url)
    expect(watched.page.locator(".tile")).to_have_count(N_PICTURES)
    yield watched.page
    assert watched.complaints == []


def expect_counts(page: Page, field: str, **counts: int) -> None:
    """The panel shows these values of the field with these numbers."""
    rows = page.get_by_role("group", name=field, exact=True).locator(".check")
    texts = [f"{value}{n}" for value, n in counts.items()]
    expect(rows).to_have_text(texts, use_inner_text=False)


@pytest.mark.parametrize("words", ["", "red"])
def test_counts_are_of_what_the_other_fields_let_pass(opened: Page, words: str) -> None:
    opened.fill("#query", words)
    opened.locator(".filters summary").click()
    expect_counts(opened, "kind", plan=6, drawing=4, photograph=2)
    opened.get_by_label("drawing").check()
    expect_counts(opened, "kind", plan=6, drawing=4, photograph=2)
    expect_counts(opened, "room", attic=2, hall=2)
    opened.get_by_label("photograph").check()  # a second value of the same field
    expect(opened.locator(".tile")).to_have_count(6)
    expect_counts(opened, "room", attic=3, hall=3)
    opened.get_by_label("hall").check()
    expect_counts(opened, "kind", plan=3, drawing=2, photograph=1)
    expect_counts(opened, "room", attic=3, hall=3)
    expect(opened.locator(".tile")).to_have_count(3)


def test_filters_are_of_fields_that_tell_pictures_apart(opened: Page) -> None:
    opened.locator(".filters summary").click()
    expect(opened.locator(".filter-fields legend")).to_have_text(
        ["camera.make", "camera.mm", "height", "kind", "room", "taken_at"]
    )
    columns = opened.locator(".filter-fields > fieldset").evaluate_all(
        "fields => new Set(fields.map((field) => field.getBoundingClientRect().left)).size"
    )
    assert columns == 3


@pytest.mark.parametrize(("width", "height"), [(360, 740), (1280, 420)])
def test_fields_that_have_no_room_are_below_the_others(opened: Page, width: int, height: int) -> None:
    opened.set_viewport_size({"width": width, "height": height})
    opened.locator(".filters summary").click()
    expect(opened.locator(".filter-fields .check").first).to_be_visible()
    is_below, is_aside = opened.locator(".filter-fields").evaluate(
        "popup => [popup.scrollHeight > popup.clientHeight, popup.scrollWidth > popup.clientWidth]"
    )
    assert is_below
    assert not is_aside


def test_dates_filter_from_a_day_to_a_day(opened: Page) -> None:
    opened.locator(".filters summary").click()
    taken = opened.get_by_role("group", name="taken_at")
    taken.get_by_label("from", exact=True).fill("2024-03-15")
    taken.get_by_label("to", exact=True).fill("2024-05-15")
    expect(opened.locator(".tile .caption")).to_have_text(["noise-2", "noise-3", "noise-4"])
    opened.reload()
    opened.locator(".filters summary").click()
    expect(taken.get_by_label("from", exact=True)).to_have_value("2024-03-15")
    taken.get_by_label("from", exact=True).fill("")
    expect(opened.locator(".tile")).to_have_count(5)


def test_link_to_a_filtered_search_searches_once(
    new_page: Callable[..., Watched], server: RunningServer
) -> None:
    watched = new_page()
    only = quote('{"kind":["plan"],"height":{"gte":8}}')
    watched.page.goto(f"{server.url}/#/search?q=red&only={only}")
    expect(watched.page.locator(".tile")).to_have_count(4)
    expect(watched.page.locator(".filters .count")).to_have_text("2")
    watched.page.wait_for_load_state("networkidle")
    assert [url for url in watched.requests if url.endswith("/search")] == [f"{server.url}/search"]
    watched.page.locator(".filters summary").click()
    expect_counts(watched.page, "kind", plan=4, drawing=0, photograph=0)


def test_fields_inside_of_objects_filter_as_others_do(opened: Page, server: RunningServer) -> None:
    opened.locator(".filters summary").click()
    make = opened.get_by_role("group", name="camera.make")
    expect(make.locator(".check")).to_have_text(["make 04", "make 14", "make 24"])
    make.get_by_label("make 1").check()
    expect(opened.locator(".tile .caption")).to_have_text(["noise-1", "noise-10", "noise-4", "noise-7"])
    opened.get_by_role("group", name="camera.mm").get_by_label("from", exact=True).fill("50")
    opened.keyboard.press("Enter")
    expect(opened.locator("#find-status")).to_have_text(f"2 pictures of {N_PICTURES} pictures")
    opened.keyboard.press("Escape")
    opened.locator(".tile a").first.click()
    expect(opened.locator(".details > div", has_text="camera.make")).to_have_text("camera.makemake 1")
    opened.goto(f"{server.url}/#/collections/default")
    opened.get_by_role("region", name="Metadata").get_by_role("link", name="make 2").click()
    expect(opened.locator("#find-status")).to_have_text(f"4 pictures of {N_PICTURES} pictures")


def test_another_collection_is_asked_the_same_with_the_filters_that_it_has(
    opened: Page, server: RunningServer
) -> None:
    with Client(server.url) as client:
        client.create_collection("other")
        metadata = [{"kind": "plan"}, {"kind": "photograph"}]
        client.add([noise(20), noise(21)], ids=["a", "b"], metadata=metadata, collection="other")
        opened.reload()
        opened.fill("#query", "red")
        opened.locator(".filters summary").click()
        opened.get_by_label("plan").check()
        opened.get_by_label("hall").check()
        expect(opened.locator(".tile")).to_have_count(3)
        opened.select_option("#collection", "other")
        expect(opened.locator(".tile .caption")).to_have_text(["a"])
        expect(opened.locator("#query")).to_have_value("red")
        expect(opened.locator(".filters .count")).to_have_text("1")
        client.drop_collection("other")


def test_folders_are_a_tree_and_one_filters_with_all_within_it(opened: Page, server: RunningServer) -> None:
    folders = [".", "2024", "2024/italy", "2024/italy/rome", "2024b", "2024b"]
    with Client(server.url) as client:
        client.create_collection("trips")
        metadata = [{"file": {"name": f"{i}.png", "folder": one}} for i, one in enumerate(folders)]
        ids = [f"trip-{i}" for i in range(len(folders))]
        client.add(
            [noise(30 + i) for i in range(len(folders))], ids=ids, metadata=metadata, collection="trips"
        )
        opened.goto(f"{server.url}/#/search?collection=trips")
        opened.reload()
        opened.locator(".filters summary").click()
        tree = opened.get_by_role("group", name="file.folder")
        expect(tree.locator(".check")).to_have_text(["in no folder1", "20243", "2024b2"])
        expect(tree.get_by_role("button", name="Folders in 2024b")).to_be_hidden()
        opener = tree.get_by_role("button", name="Folders in 2024", exact=True)
        opener.focus()
        opened.keyboard.press("Enter")
        expect(opener).to_have_attribute("aria-expanded", "true")
        expect(tree.locator(".check")).to_have_text(["in no folder1", "20243", "italy2", "2024b2"])
        tree.get_by_role("checkbox", name="italy").check()
        expect(opened.locator(".tile")).to_have_count(2)
        opened.reload()
        opened.locator(".filters summary").click()
        expect(tree.get_by_role("checkbox", name="italy")).to_be_checked()  # the tree opens as far as to it
        tree.get_by_role("checkbox", name="2024b").check()
        expect(tree.get_by_role("checkbox", name="italy")).not_to_be_checked()
        expect(opened.locator(".tile .caption")).to_have_text(["4.png", "5.png"])
        tree.get_by_role("checkbox", name="in no folder").check()
        expect(opened.locator(".tile .caption")).to_have_text(["0.png"])
        tree.get_by_role("checkbox", name="in no folder").uncheck()
        expect(opened.locator(".tile")).to_have_count(6)
        client.drop_collection("trips")

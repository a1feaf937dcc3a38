"""The order of pictures on the page: by date and by name, of a collection and of the hits that fit."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from diptych_client import Client
from support.browser import Watched
from support.calibrations import MAP, write_tiny_calibration
from support.pictures import noise, picture
from support.server import RunningServer, serve
from support.tiny_bundle import TINY, write_tiny_bundle

pytestmark = pytest.mark.browser
STRICT = MAP.model_copy(update={"floor": 3.0, "slope": 10.0})  # only its own colour fits a word
TAKEN = {"red-old": "2019-05-01T10:00:00", "red-new": "2024-05-01T10:00:00", "blue": "2022-01-01T08:00:00"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Two red pictures and a blue one with their dates, and one without a date; texts are calibrated."""
    repo: Path = tmp_path_factory.mktemp("order") / "model_repo"
    write_tiny_bundle(repo)
    write_tiny_calibration(repo, kinds=("text",), relevance=STRICT)
    with serve(repo, TINY, repo.parent / "data") as running:
        with Client(running.url) as client:
            pictures = {
                "red-old": picture("red"),
                "red-new": picture("red", size=(20, 20)),
                "blue": picture("blue"),
                "undated": noise(1),
            }
            metadata = [
                {"name": id, "stars": n, **({"exif": {"taken_at": TAKEN[id]}} if id in TAKEN else {})}
                for n, id in enumerate(pictures)
            ]
            client.add(list(pictures.values()), ids=list(pictures), metadata=metadata)
        yield running


@pytest.fixture
def opened(new_page: Callable[..., Watched], server: RunningServer) -> Iterator[Page]:
    watched = new_page()
    watched.page.goto(server.url)
    expect(watched.page.locator(".tile")).to_have_count(4)
    yield watched.page
    assert watched.complaints == []


def expect_captions(page: Page, *names: str) -> None:
    expect(page.locator(".tile .caption")).to_have_text(list(names))


def test_collection_is_sorted_by_date_and_by_name(opened: Page) -> None:
    order = opened.get_by_label("Order")
    order.select_option("Newest first")
    expect_captions(opened, "red-new", "blue", "red-old", "undated")
    expect(opened.locator("#find-status")).to_have_text("4 pictures, 1 without a date last")
    order.select_option("Oldest first")
    expect_captions(opened, "red-old", "blue", "red-new", "undated")
    opened.reload()
    expect_captions(opened, "red-old", "blue", "red-new", "undated")
    order.select_option("By name")
    expect_captions(opened, "blue", "red-new", "red-old", "undated")
    order.select_option("Unsorted")
    expect_captions(opened, "blue", "red-new", "red-old", "undated")


@pytest.mark.parametrize(
    ("order", "names"),
    [("Newest first", ("red-new", "red-old")), ("Oldest first", ("red-old", "red-new"))],
)
def test_hits_that_fit_are_sorted_and_the_others_left_out(
    opened: Page, order: str, names: tuple[str, str]
) -> None:
    opened.get_by_label("Order").select_option(order)
    opened.fill("#query", "red")
    expect_captions(opened, *names)
    expect(opened.locator("#find-status")).to_contain_text("2 of 4 may fit, 2 left out")
    opened.get_by_role("button", name="Show them all").click()
    expect(opened.get_by_label("Order")).to_have_value("")
    expect(opened.locator(".tile")).to_have_count(4)
    expect(opened.locator(".tile.poor")).to_have_count(2)


def test_order_of_a_query_that_nothing_fits_shows_the_nearest(opened: Page) -> None:
    opened.get_by_label("Order").select_option("Newest first")
    opened.fill("#query", "green")
    expect(opened.locator("#find-status")).to_contain_text("Nothing fits well: best guesses first")
    expect(opened.locator(".tile img")).to_have_count(4)


def test_collection_is_sorted_by_the_size_of_a_number(opened: Page) -> None:
    opened.get_by_label("Order").select_option("stars, largest first")
    expect_captions(opened, "undated", "blue", "red-new", "red-old")
    opened.get_by_label("Order").select_option("stars, smallest first")
    expect_captions(opened, "red-old", "red-new", "blue", "undated")


def test_pictures_by_date_are_headed_by_their_years_while_they_are_few(opened: Page) -> None:
    headings = opened.locator(".grid-line")
    opened.get_by_label("Order").select_option("Newest first")
    expect(headings).to_have_text(["2024", "2022", "2019", "Without a date"])
    slider = opened.get_by_role("slider", name="Go to")
    expect(slider).to_have_attribute("aria-valuetext", "2024")
    opened.locator(".tile a", has_text="blue").click()
    opened.get_by_role("button", name="Delete").click()
    expect(headings).to_have_text(["2024", "2019", "Without a date"])
    opened.get_by_role("button", name="Undo").click()
    opened.get_by_label("Order").select_option("Oldest first")
    expect(headings).to_have_text(["2019", "2022", "2024", "Without a date"])
    opened.fill("#query", "red")
    expect(headings).to_have_text(["2019", "2024"])
    opened.get_by_role("button", name="Show them all").click()
    expect(headings).to_have_text(["Less relevant"])


@pytest.mark.parametrize("width", [360, 1280])
def test_bar_of_the_selection_does_not_cover_the_slider(opened: Page, width: int) -> None:
    opened.set_viewport_size({"width": width, "height": 740})
    opened.get_by_label("Order").select_option("Newest first")
    opened.get_by_role("button", name="Select").click()
    bar = opened.get_by_role("toolbar", name="Selected pictures").bounding_box()
    slider = opened.get_by_role("slider", name="Go to").bounding_box()
    assert bar is not None
    assert slider is not None
    assert bar["y"] + bar["height"] < slider["y"]


def test_chart_of_a_date_filter_says_when_pictures_were_taken(opened: Page) -> None:
    opened.locator(".filters summary").click()
    chart = opened.get_by_role("img", name="May 2019 to May 2024, at most 1 picture in May 2019")
    expect(chart.locator("rect")).to_have_count(3)
    taken = opened.get_by_role("group", name="exif.taken_at")
    taken.get_by_label("from").fill("2022-01-01")
    taken.get_by_label("from").press("Tab")
    expect(chart.locator(".in")).to_have_count(2)
    taken.locator("input").last.fill("2021-01-01")
    taken.locator("input").last.press("Tab")
    expect(taken.get_by_role("alert")).to_have_text("“from” is above “to”: nothing fits")


def test_search_that_cannot_be_sorted_offers_no_order_and_answers(opened: Page) -> None:
    opened.get_by_label("Order").select_option("Newest first")
    opened.locator(".tile a").first.click()
    opened.get_by_role("button", name="More like this").click()  # pictures are not calibrated
    expect(opened.locator(".tile")).to_have_count(3)
    expect(opened.get_by_label("Order")).to_have_count(0)
    expect(opened.get_by_role("alert").filter(has_text="calibrat")).to_have_count(0)

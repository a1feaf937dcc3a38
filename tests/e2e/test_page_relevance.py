"""What the page shows of the relevance of hits, with a calibrated tiny model."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from diptych_client import Client
from support.browser import Watched
from support.calibrations import MAP, write_tiny_calibration
from support.pictures import noise, picture
from support.server import RunningServer, serve
from support.tiny_bundle import TINY, write_tiny_bundle

pytestmark = pytest.mark.browser
N_NOISE = 6
STRICT = MAP.model_copy(update={"floor": 3.0, "slope": 10.0})  # only its own colour fits a word
WORDS = {
    "noise-3": {
        "place": {"who": "Grandma"},
        "tags": ["grandma", "sofa"],
        "a long name of a field": "grandma",
    },
    "noise-4": {"a long name of a field that has no end": "grandpa", "tags": "grandpa"},
}


@pytest.fixture(scope="module")
def calibrated_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A red and a blue picture, and noise."""
    repo: Path = tmp_path_factory.mktemp("calibrated") / "model_repo"
    write_tiny_bundle(repo)
    write_tiny_calibration(repo, kinds=("text", "image"), relevance=STRICT)
    with serve(repo, TINY, repo.parent / "data") as running:
        with Client(running.url) as client:
            pictures = {colour: picture(colour) for colour in ("red", "blue")}
            pictures |= {f"noise-{i}": noise(i) for i in range(N_NOISE)}
            metadata = [WORDS.get(id, {}) for id in pictures]
            client.add(list(pictures.values()), ids=list(pictures), metadata=metadata)
        yield running


@pytest.fixture
def page(new_page: Callable[..., Watched], calibrated_server: RunningServer) -> Iterator[Page]:
    watched = new_page()
    watched.page.goto(calibrated_server.url)
    expect(watched.page.locator(".tile")).to_have_count(2 + N_NOISE)
    yield watched.page
    assert watched.complaints == []


def look_for(page: Page, words: str) -> None:
    page.fill("#query", words)
    page.press("#query", "Enter")


def percent_of(tile: Locator) -> int:
    return int(tile.locator(".match").inner_text().split("·")[-1].removesuffix("%"))


def length_of_strength(page: Page, index: int) -> float:
    """The filled part of the line below a picture, in percent."""
    line = page.locator(f".tile[data-index='{index}'] .strength")
    return float(line.evaluate("line => parseFloat(getComputedStyle(line).getPropertyValue('--share'))"))


def test_hits_that_fit_show_their_relevance_and_a_line_ends_them(page: Page) -> None:
    expect(page.locator(".match")).to_have_count(0)  # of pictures that nobody searched for
    look_for(page, "red")
    expect(page.locator("#find-status")).to_contain_text(f"1 of {2 + N_NOISE} pictures may fit")
    first = page.locator(".tile[data-index='0']")
    expect(first.locator(".caption")).to_have_text("red")
    expect(first.locator(".match")).to_have_text(re.compile(r"^id · \d+ %$"))
    assert length_of_strength(page, 0) == pytest.approx(percent_of(first), abs=0.6)
    expect(page.locator(".grid-line")).to_have_text("Less relevant")
    expect(page.locator(".tile.poor")).to_have_count(1 + N_NOISE)
    expect(page.locator(".strength")).to_have_count(1)
    line, poor = page.locator(".grid-line").bounding_box(), page.locator(".tile.poor").first.bounding_box()
    assert line is not None
    assert poor is not None
    assert line["y"] < poor["y"]


def test_a_query_that_nothing_fits_well_shows_the_best_guesses(page: Page) -> None:
    look_for(page, "green")
    expect(page.locator("#find-status")).to_contain_text("Nothing fits well: best guesses first")
    expect(page.locator("#find-status")).to_contain_text("Try other words")
    expect(page.locator(".tile")).to_have_count(2 + N_NOISE)
    expect(page.locator(".tile.poor, .grid-line")).to_have_count(0)
    look_for(page, "blue")
    expect(page.locator("#find-status")).to_contain_text(f"1 of {2 + N_NOISE} pictures may fit")
    expect(page.locator(".tile .caption").first).to_have_text("blue")


@pytest.mark.parametrize(
    ("relevance", "status"),
    [
        (0.13, "Not sure: best guesses first"),
        (0.196, "1 of 8 pictures may fit"),  # its tile says 20 %
        (0.94, "1 of 8 pictures may fit"),
    ],
)
def test_status_says_how_likely_the_best_hit_is(page: Page, relevance: float, status: str) -> None:
    def judge(route: Route) -> None:
        response = route.fetch()
        answer = response.json()
        for rank, hit in enumerate(answer["hits"]):
            hit.update(relevance=relevance if rank == 0 else 0.01, matched_fields=[])
            hit["matched"] = ["meaning"] if rank == 0 else []
        route.fulfill(response=response, json=answer)

    page.route("**/search", judge)
    look_for(page, "submarine")
    expect(page.locator("#find-status")).to_contain_text(status)
    expect(page.get_by_text("Try other words")).to_have_count(int(status.startswith("Not sure")))


def test_a_hit_that_carries_the_word_is_first_and_names_the_field(page: Page) -> None:
    look_for(page, "grandma")
    expect(page.locator("#find-status")).to_contain_text(f"1 of {2 + N_NOISE} pictures may fit")
    first = page.locator(".tile[data-index='0']")
    expect(first.locator(".caption")).to_have_text("noise-3")
    expect(first.locator(".match")).to_have_text("place who +2")
    expect(first.get_by_role("link")).to_have_attribute(
        "aria-label", re.compile("noise-3, words in place who, tags, a long name of a field, relevance")
    )
    expect(first.get_by_role("link")).to_have_attribute(
        "title", re.compile("the words are in place who, tags, a long")
    )
    first.click()
    expect(page.locator("dialog.picture")).to_contain_text("The words are in place who, tags, a long")
    page.get_by_text("This search as code").click()
    expect(page.locator("dialog.picture pre")).to_contain_text('"match":"both"')


def test_on_a_phone_the_name_of_a_field_is_no_wider_than_the_picture(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    look_for(page, "grandpa")
    first = page.locator(".tile[data-index='0']")
    expect(first.locator(".caption")).to_have_text("noise-4")
    expect(first.locator(".match")).to_have_text("a long name of a field that has no end +1")
    tile, match = first.bounding_box(), first.locator(".match").bounding_box()
    assert tile is not None
    assert match is not None
    assert tile["x"] < match["x"] < match["x"] + match["width"] < tile["x"] + tile["width"]
    assert match["height"] < tile["height"] / 5

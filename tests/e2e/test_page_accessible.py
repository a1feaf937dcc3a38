"""The page at / for everybody: axe finds no violation in any view, in light and in dark."""

from collections.abc import Callable, Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect

from diptych_client import Client
from support.browser import Watched
from support.pictures import noise, picture
from support.server import RunningServer

pytestmark = pytest.mark.browser


def show_search(page: Page) -> None:
    expect(page.locator(".tile")).to_have_count(26)


def show_hits_and_parts(page: Page) -> None:
    page.fill("#query", "red")
    expect(page.locator("#find-status")).to_contain_text("of 26 pictures")
    page.locator(".tile a").last.click()
    page.get_by_role("button", name="And like this").click()
    expect(page.locator(".part")).to_have_count(1)
    page.locator(".filters summary").click()


def show_unlikely_hits(page: Page) -> None:
    """The best hits hardly fit, the others not at all."""

    def judge(route: Route) -> None:
        response = route.fetch()
        answer = response.json()
        for rank, hit in enumerate(answer["hits"]):
            hit.update(relevance=0.19 - 0.02 * rank if rank < 3 else 0.01, matched_fields=[])
            hit["matched"] = ["meaning"] if rank < 3 else []
        route.fulfill(response=response, json=answer)

    page.route("**/search", judge)
    page.fill("#query", "submarine")
    expect(page.get_by_text("Try other words")).to_be_visible()
    expect(page.locator(".strength")).to_have_count(3)


def show_phone(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    expect(page.locator(".tile").first).to_be_visible()


def show_picture(page: Page) -> None:
    page.locator(".tile a").first.click()
    page.get_by_text("as code").click()
    expect(page.locator(".strip button").first).to_be_visible()


def show_selection(page: Page) -> None:
    page.get_by_role("button", name="Select").click()
    page.get_by_role("checkbox").first.click()
    page.get_by_role("toolbar").get_by_role("button", name="Label").click()
    expect(page.get_by_role("dialog").get_by_role("combobox")).to_be_visible()


def show_months(page: Page) -> None:
    expect(page.locator(".grid-line")).to_have_count(2)
    page.get_by_role("slider", name="Go to").focus()
    page.get_by_role("button", name="Whole pictures in rows").click()
    page.locator(".filters summary").click()
    expect(page.locator(".histogram")).to_be_visible()
    page.locator("input[type=date]").first.fill("2025-01-01")
    page.locator("input[type=date]").last.fill("2024-01-01")
    page.keyboard.press("Tab")


def show_labels(page: Page) -> None:
    page.set_input_files(
        "#file",
        [{"name": f"{c}.png", "mimeType": "image/png", "buffer": picture(c)} for c in ("red", "blue")],
    )
    expect(page.get_by_text("2 of 2 pictures classified")).to_be_visible()


def show_no_label_set(page: Page) -> None:
    page.get_by_role("button", name="Define labels").click()
    page.get_by_label("Labels, one a line").fill("red | scarlet\nblue")


def show_review(page: Page) -> None:
    page.locator(".keys summary").click()
    for key in ("1", "Control+z", "1"):
        expect(page.locator(".confirm")).to_be_enabled()
        page.keyboard.press(key)
    page.get_by_text("How right is it?").click()
    expect(page.get_by_role("region", name="Agreement by label")).to_be_visible()
    page.get_by_role("button", name="Select").click()
    page.get_by_role("checkbox").first.click()


def show_labelled_picture(page: Page) -> None:
    page.locator(".labelled button").first.click()
    expect(page.locator(".labelled-choices")).to_be_visible()
    page.keyboard.press("2")
    expect(page.get_by_text("your word")).to_be_visible()


def show_changed_answers(page: Page) -> None:
    def change(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json=answer.json() | {"n_contested": 2})

    page.route("**/label-sets/colour", change)
    page.reload()
    expect(page.get_by_role("button", name="Look at them")).to_be_visible()


def show_refused_answers(page: Page) -> None:
    page.route("**/verdicts", lambda route: route.fulfill(status=500, json={"title": "Sorry"}))
    expect(page.locator(".confirm")).to_be_enabled()
    page.keyboard.press("1")
    expect(page.get_by_role("alert")).to_be_visible()


def show_all_reviewed(page: Page) -> None:
    none_left = {"images": [], "model": {"name": "tiny", "version": 1}, "n_unreviewed": 0, "revision": 1}
    page.route("**/proposals?*", lambda route: route.fulfill(json=none_left))
    page.reload()
    expect(page.get_by_text("Every picture is reviewed")).to_be_visible()


def show_collection(page: Page) -> None:
    page.get_by_role("button", name="Look for duplicates").click()
    expect(page.get_by_role("region", name="Metadata")).to_be_visible()


def show_new_collection(page: Page) -> None:
    page.get_by_role("button", name="New collection").click()


def show_version(page: Page) -> None:
    expect(page.get_by_role("region", name="Parity")).to_be_visible()


def show_status(page: Page) -> None:
    expect(page.locator(".chart").first).to_be_visible()


def show_troubles(page: Page) -> None:
    metrics = 'diptych_requests_total{route="/search",code="500"} 1\n'
    page.route("**/metrics", lambda route: route.fulfill(body=metrics, content_type="text/plain"))
    expect(page.locator(".troubles")).to_be_visible()


STATES = {
    "search": ("search", show_search),
    "hits": ("search", show_hits_and_parts),
    "unlikely hits": ("search", show_unlikely_hits),
    "phone": ("search", show_phone),
    "picture": ("search", show_picture),
    "selection": ("search", show_selection),
    "months": ("search?collection=dated&order=exif.taken_at", show_months),
    "classify": ("classify", show_labels),
    "no label set": ("label?collection=default", show_no_label_set),
    "review": ("label", show_review),
    "labelled picture": ("label", show_labelled_picture),
    "changed answers": ("label", show_changed_answers),
    "refused answers": ("label", show_refused_answers),
    "all reviewed": ("label", show_all_reviewed),
    "collections": ("collections", show_new_collection),
    "collection": ("collections/gallery", show_collection),
    "models": ("models", lambda _: None),
    "version": ("models/tiny/1", show_version),
    "status": ("status", show_status),
    "troubles": ("status", show_troubles),
}


@pytest.fixture(scope="module", autouse=True)
def label_set_and_dates(gallery_server: RunningServer) -> Iterator[None]:
    with Client(gallery_server.url) as client:
        client.put_label_set("gallery", "colour", ["red", "green", "blue"])
        client.create_collection("dated")
        dates = [{"exif": {"taken_at": f"{year}-05-01T10:00:00"}} for year in (2023, 2024)]
        client.add([noise(n) for n in range(2)], metadata=dates, collection="dated")
        yield
        client.drop_label_set("gallery", "colour")
        client.drop_collection("dated")


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_no_violation(
    new_page: Callable[..., Watched], gallery_server: RunningServer, state: str, scheme: str
) -> None:
    view, show = STATES[state]
    page = new_page(color_scheme=scheme, reduced_motion="reduce", bypass_csp=True).page  # axe is put into it
    page.goto(f"{gallery_server.url}/#/{view}")
    expect(page.locator("#model")).to_contain_text("tiny")
    show(page)
    page.wait_for_load_state("networkidle")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()

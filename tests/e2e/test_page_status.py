"""The status view of the page at /: live figures, jobs, keys."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from diptych_client import Client
from integration.store_parts import tiny_png
from support.browser import Watched
from support.server import RunningServer, serve
from support.tiny_bundle import TINY

pytestmark = pytest.mark.browser
KEY = "a-key-of-the-tests"


@pytest.fixture(scope="module")
def server(tiny_repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    data, few = tmp_path_factory.mktemp("status"), {"max_add_items": 4}
    with serve(tiny_repo, TINY, data, "--api-key", KEY, constants=few) as running:
        yield running


@pytest.fixture
def opened(new_page: Callable[..., Watched], server: RunningServer) -> Page:
    page = new_page().page
    page.goto(f"{server.url}/#/status")
    page.get_by_label("API key").fill(KEY)
    page.keyboard.press("Enter")
    expect(page.locator(".chart", has_text="Memory")).to_be_visible()
    return page


@pytest.mark.parametrize(
    ("code", "headline", "trouble"),
    [("503", "All is well", None), ("500", "Something needs a look", "15 requests failed by an error")],
)
def test_summary_comes_first_and_counts_no_503_as_an_error(
    opened: Page, code: str, headline: str, trouble: str | None
) -> None:
    metrics = f'diptych_requests_total{{route="/search",code="{code}"}} 15\n'
    opened.route("**/metrics", lambda route: route.fulfill(body=metrics, content_type="text/plain"))
    summary = opened.get_by_role("region", name="Summary")
    expect(summary).to_contain_text("15 requests")
    expect(summary.get_by_role("status")).to_have_text(headline)
    expect(summary.locator(".troubles")).to_have_count(int(trouble is not None))
    if trouble:
        expect(summary.locator(".troubles")).to_contain_text(trouble)
    expect(summary).to_contain_text("tiny version 1, fp32")
    expect(summary).to_contain_text("manage models and keys")
    top, chart = summary.bounding_box(), opened.locator(".chart").first.bounding_box()
    assert top is not None
    assert chart is not None
    assert top["y"] < chart["y"]


def test_chart_appears_once_it_has_a_figure(opened: Page) -> None:
    expect(opened.locator(".chart")).not_to_have_count(0)
    expect(opened.locator(".chart polyline")).to_have_count(opened.locator(".chart").count())


def test_figures_follow_the_work_of_the_server(opened: Page, server: RunningServer) -> None:
    memory = opened.locator(".chart", has_text="Memory").locator("strong")
    expect(memory).to_contain_text("MB")
    with Client(server.url, KEY) as client:
        client.add([tiny_png(i) for i in range(4)])
    images = opened.locator(".chart", has_text="Images a second")
    expect(images.locator(".status")).not_to_have_text("at most 0.0")
    expect(images.locator("polyline")).to_have_count(1)
    expect(opened.locator(".chart", has_text="Latency, median").locator("strong")).to_contain_text("s")


def test_jobs_are_listed_with_what_failed(opened: Page, server: RunningServer) -> None:
    jobs = opened.get_by_role("region", name="Jobs")
    expect(opened.get_by_text("at work onnothing")).to_be_visible()
    expect(jobs).to_have_count(0)
    images = [("image", tiny_png(i)) for i in range(10, 18)] + [("image", b"no picture")]
    url = f"{server.url}/collections/default/images"
    assert httpx.post(url, files=images, headers={"X-API-Key": KEY}).status_code == 202
    expect(jobs).to_contain_text("9 of 9 pictures")
    expect(jobs.locator(".tag")).to_have_text("done")
    expect(jobs).to_contain_text("1 picture failed")


def test_key_is_made_shown_once_used_and_revoked(opened: Page, server: RunningServer) -> None:
    keys = opened.get_by_role("region", name="API keys")
    expect(keys.get_by_text("None but that of the server’s settings")).to_be_visible()
    opened.get_by_role("button", name="New key").click()
    opened.get_by_label("Name, for people").fill("kiosk")
    opened.get_by_label("default").check()
    opened.get_by_role("button", name="Make the key").click()
    token = opened.locator(".dialog pre").inner_text()
    with Client(server.url, token) as visitor:
        assert [one.name for one in visitor.collections()] == ["default"]
    opened.get_by_role("dialog").get_by_role("button", name="Close").click()
    row = opened.get_by_role("row", name="kiosk")
    expect(row).to_contain_text("read")
    expect(row).to_contain_text("default")
    row.get_by_role("button", name="Revoke kiosk").click()
    opened.get_by_role("dialog").get_by_role("button", name="Revoke it").click()
    expect(row).to_have_count(0)
    with Client(server.url, KEY) as client:
        assert client.keys() == []
    opened.get_by_role("button", name="Forget it").click()
    expect(opened.locator("#key-dialog")).to_be_visible()
    assert opened.evaluate("sessionStorage.length") == 0

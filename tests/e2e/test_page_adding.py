"""Pictures are added through the page at /: many at once, with what became of them, in a real browser."""

import base64
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import FilePayload, Page, Route, expect

from integration.store_parts import tiny_png
from support.browser import Watched
from support.pictures import picture
from support.server import RunningServer, serve
from support.tiny_bundle import TINY

pytestmark = pytest.mark.browser

N_MANY = 200
IMAGES = "**/collections/*/images"
DROP_MANY = """(files) => {
  const transfer = new DataTransfer();
  for (const [name, data] of files) {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    transfer.items.add(new File([bytes], name, { type: "image/png" }));
  }
  const event = new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
  document.querySelector(".drop-zone").dispatchEvent(event);
}"""


@pytest.fixture
def server(tiny_repo: Path, tmp_path: Path) -> Iterator[RunningServer]:
    """One that has no pictures yet."""
    with serve(tiny_repo, TINY, tmp_path / "data") as running:
        yield running


@pytest.fixture
def opened(new_page: Callable[..., Watched], server: RunningServer) -> Page:
    watched = new_page()
    watched.page.goto(server.url)
    expect(watched.page.locator(".empty")).to_contain_text("No pictures here yet")
    return watched.page


def file(name: str, payload: bytes, media_type: str = "image/png") -> FilePayload:
    return {"name": name, "mimeType": media_type, "buffer": payload}


def many(n: int) -> list[FilePayload]:
    return [file(f"{i:04}.png", tiny_png(i)) for i in range(n)]


def n_images(server: RunningServer) -> int:
    told = httpx.get(f"{server.url}/collections/default", verify=False).json()
    return int(told["n_images"])


def test_hundreds_of_chosen_pictures_are_added_and_the_bad_ones_named(
    opened: Page, server: RunningServer
) -> None:
    bad = [file("notes.png", b"no picture"), file("cut.png", picture("red")[:60]), file("empty.png", b"")]
    opened.set_input_files("#add-files", [*many(N_MANY), *bad])
    status = opened.locator("#adding-status")
    expect(status).to_have_text(f"{N_MANY + 3} pictures: {N_MANY} added, 3 failed", timeout=60_000)
    expect(opened.locator("#find-status")).to_have_text(f"{N_MANY} pictures")
    assert n_images(server) == N_MANY
    opened.locator("#adding-failures summary").click()
    told = opened.locator("#adding-failures li").all_inner_texts()
    assert sorted(line.split()[0] for line in told) == ["cut.png", "empty.png", "notes.png"]
    assert any("empty (0 bytes)" in line for line in told)
    expect(opened.locator(".tile .caption").first).to_contain_text(".png")
    opened.set_input_files("#add-files", many(20))
    expect(status).to_have_text("20 pictures: 0 added, 20 there already")
    opened.locator("#adding-stop").click()
    expect(status).to_be_hidden()


@pytest.mark.long
def test_dropped_pictures_are_added(opened: Page, server: RunningServer) -> None:
    files = [(f"{i}.png", base64.b64encode(tiny_png(i)).decode()) for i in range(5)]
    opened.evaluate(DROP_MANY, [*files, (".DS_Store", "")])
    expect(opened.locator("#adding-status")).to_have_text("5 pictures: 5 added")
    expect(opened.locator(".tile")).to_have_count(5)


@pytest.mark.long
def test_adding_is_stopped_and_what_was_acknowledged_stays(opened: Page, server: RunningServer) -> None:
    held: list[Route] = []

    def hold_after_the_first(route: Route) -> None:
        if route.request.method == "POST" and n_images(server):
            held.append(route)
        else:
            route.continue_()

    opened.route(IMAGES, hold_after_the_first)
    opened.set_input_files("#add-files", many(100))
    expect(opened.locator("#adding-status")).to_have_text(
        re.compile(r"Adding to default: [1-9]\d* of 100 pictures")
    )
    opened.get_by_role("button", name="Stop").click()
    expect(opened.locator("#adding-status")).to_contain_text("not sent")
    n_told = int(opened.locator("#adding-status").inner_text().split(": ")[1].split()[0])
    assert 0 < n_told <= n_images(server) < 100
    expect(opened.locator("#find-status")).to_have_text(f"{n_images(server)} pictures")


def test_page_follows_pictures_that_others_add(
    new_page: Callable[..., Watched], server: RunningServer
) -> None:
    page = new_page().page
    page.clock.install()
    url = f"{server.url}/collections/default/images"
    httpx.post(url, files={"image": tiny_png(0)}).raise_for_status()
    page.goto(server.url)
    for n in (2, 3):
        expect(page.locator("#find-status")).to_have_text("1 picture" if n == 2 else "2 pictures")
        httpx.post(url, files={"image": tiny_png(n)}).raise_for_status()
        page.clock.run_for(4000)
    expect(page.locator("#find-status")).to_have_text("3 pictures")
    page.get_by_role("link", name="Status").click()
    expect(page.get_by_role("region", name="Summary")).to_be_visible()
    httpx.post(url, files={"image": tiny_png(9)}).raise_for_status()
    page.clock.run_for(4000)
    expect(page.get_by_text("adding pictures to default")).to_be_visible()

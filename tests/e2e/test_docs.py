"""The API documentation in a browser: a try-out sends its example, and shows it as a curl command."""

import json
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from support.browser import Watched
from support.server import RunningServer, serve
from support.tiny_bundle import TINY

pytestmark = pytest.mark.browser

KEY = "correct horse"


@pytest.fixture
def server(tiny_repo: Path, tmp_path: Path) -> Iterator[RunningServer]:
    with serve(tiny_repo, TINY, tmp_path / "data", environment={"DIPTYCH_API_KEY": KEY}) as running:
        yield running


@pytest.fixture
def watched(new_page: Callable[..., Watched], server: RunningServer) -> Watched:
    """The documentation, with the key of the server."""
    watched = new_page()
    page = watched.page
    page.goto(f"{server.url}/docs")
    page.locator(".auth-wrapper .authorize").click()
    dialog = page.locator(".auth-container", has_text="X-API-Key")
    dialog.locator("input").fill(KEY)
    dialog.get_by_role("button", name="Apply").or_(dialog.locator("button.authorize")).first.click()
    page.locator(".btn-done").first.click()
    return watched


def executed(page: Page, operation: str) -> Locator:
    """The part of the page with the call, which was opened and executed."""
    call = page.locator(f"#operations-{operation}")
    call.locator(".opblock-summary-control").click()
    call.get_by_role("button", name="Execute").click()
    expect(call.locator(".live-responses-table .response .response-col_status")).to_be_visible()
    return call


def test_try_out_sends_the_example_and_shows_a_curl_command_that_works(
    watched: Watched, server: RunningServer
) -> None:
    titles = watched.page.locator(".opblock-summary-description").all_inner_texts()
    assert {"Label images", "Search by a text", "Add images to a collection"} <= set(titles)
    call = executed(watched.page, "encode-embed")
    expect(call.locator(".live-responses-table .response .response-col_status")).to_contain_text("200")
    command = call.locator(".curl-command .curl").inner_text().replace("\\\n", " ")
    arguments = shlex.split(command)
    assert f"X-API-Key: {KEY}" in arguments
    answer = subprocess.run([*arguments, "-s"], capture_output=True, check=True)
    assert len(json.loads(answer.stdout)["data"]) == 2
    assert watched.foreign_requests(server.url) == []
    assert watched.complaints == []

"""A real Chromium for the tests of the page, and a record of what a page did. Knows no server."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

LOCAL_SCHEMES = {"blob", "data"}


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium, headless. A machine without one fails, unless DIPTYCH_NO_BROWSER=1 says so."""
    if os.environ.get("DIPTYCH_NO_BROWSER") == "1":
        pytest.skip("DIPTYCH_NO_BROWSER=1")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.fail(
            "no Chromium: apt-get install chromium, or set DIPTYCH_NO_BROWSER=1 to leave these tests out"
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watched:
    """A page, the addresses it asked for, and what it complained about."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def foreign_requests(self, url: str) -> list[str]:
        """Addresses of another origin than that of `url`."""
        own = urlsplit(url)[:2]
        return [
            asked
            for asked in self.requests
            if urlsplit(asked)[:2] != own and urlsplit(asked).scheme not in LOCAL_SCHEMES
        ]


def watch(page: Page) -> Watched:
    """Record the page's requests, console errors and uncaught exceptions from now on."""
    watched = Watched(page)

    def note(request: Request) -> None:
        watched.requests.append(request.url)

    page.on("request", note)
    page.on(
        "console", lambda m: watched.complaints.append(m.text) if m.type in {"error", "warning"} else None
    )
    page.on("pageerror", lambda error: watched.complaints.append(str(error)))
    return watched

"""One browser and one served tiny model with a small gallery, for all tests of the page."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect

from support.browser import Watched, chromium, watch
from support.pictures import noise, picture
from support.server import RunningServer, serve
from support.tiny_bundle import TINY, write_tiny_bundle
from support.tiny_graphs import COLOURS

OpenPage = Callable[..., Watched]
N_NOISES = 20
N_PICTURES = len(COLOURS) + N_NOISES


def write_gallery(folder: Path) -> Path:
    """Plain pictures named by their colour, and some noise: more than one page of a narrow window."""
    folder.mkdir()
    pictures = {colour: picture(colour, size=(64, 64)) for colour in COLOURS}
    pictures |= {f"noise {n}": noise(n) for n in range(N_NOISES)}
    lines = []
    for name, payload in pictures.items():
        item = name.replace(" ", "-")
        (folder / f"{item}.png").write_bytes(payload)
        kind = "colour" if name in COLOURS else "noise"
        metadata = {"name": name, "kind": kind, "style": "plain", "author": "nobody", "licence": "CC0-1.0"}
        lines.append(json.dumps({"file": f"{item}.png", "id": item, "metadata": metadata}) + "\n")
    (folder / "items.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def wait_until_filled(url: str) -> None:
    """Return once the server's background task has added the whole gallery."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        answer = httpx.get(f"{url}/collections/gallery")
        if answer.is_success and answer.json()["n_images"] == N_PICTURES:
            return
        time.sleep(0.05)
    pytest.fail(f"the gallery was not filled: {answer.status_code} {answer.text}")


@pytest.fixture(scope="session")
def tiny_repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with the tiny bundle."""
    repo = tmp_path_factory.mktemp("page") / "model_repo"
    write_tiny_bundle(repo)
    return repo


@pytest.fixture(scope="session")
def gallery_server(tiny_repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A real server process whose gallery is filled."""
    folder = tmp_path_factory.mktemp("gallery")
    gallery = write_gallery(folder / "pictures")
    with serve(tiny_repo, TINY, folder / "data", "--gallery", str(gallery)) as running:
        wait_until_filled(running.url)
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for a module: longer, its running loop would forbid asyncio.run in all other tests."""
    expect.set_options(timeout=15_000)
    with chromium() as running:
        yield running


@pytest.fixture
def new_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens blank, watched pages in contexts of their own; keywords are those of a browser context."""
    contexts = []

    def open_page(**options: Any) -> Watched:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        context.set_default_timeout(15_000)
        contexts.append(context)
        return watch(context.new_page())

    yield open_page
    for context in contexts:
        context.close()

"""The models view of the page at /: versions, cards, comparison, activation and the way back."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from diptych_client import Client
from support.browser import Watched
from support.pictures import noise
from support.server import RunningServer, serve
from support.tiny_bundle import TINY, write_tiny_bundle

pytestmark = pytest.mark.browser
N_PICTURES = 12


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    """Version 1 serves some pictures; version 2 waits."""
    write_tiny_bundle(tmp_path / "model_repo")
    with serve(tmp_path / "model_repo", TINY, tmp_path / "data", "--rollout", "manual") as running:
        with Client(running.url) as client:
            client.add([noise(i) for i in range(N_PICTURES)], ids=[f"noise-{i}" for i in range(N_PICTURES)])
            client.put_label_set("default", "kind", ["red", "blue"])
            client.give_verdicts("default", "kind", {"noise-1": ["red"]})
        write_tiny_bundle(tmp_path / "model_repo", seed=1)
        yield running


@pytest.fixture
def opened(new_page: Callable[..., Watched], server: RunningServer) -> Iterator[Page]:
    watched = new_page()
    watched.page.goto(f"{server.url}/#/models")
    expect(watched.page.get_by_role("link", name="version 2")).to_be_visible()
    yield watched.page
    assert watched.complaints == []


def test_version_is_activated_compared_and_rolled_back(opened: Page) -> None:
    expect(opened.locator("#model")).to_contain_text("tiny version 1")
    opened.get_by_role("link", name="version 2", exact=True).click()
    opened.get_by_role("button", name="Activate").click()
    rollout = opened.get_by_role("region", name="Rollout")
    expect(rollout.locator("strong")).to_have_text("tiny version 2, fp32")
    expect(rollout.locator(".tag")).to_have_text("serves")
    expect(opened.locator("#model")).to_contain_text("tiny version 2")
    rollout.get_by_role("button", name="Close").click()
    opened.get_by_role("link", name="Compare with 2").click()
    expect(opened.get_by_role("heading", name="tiny version 1 beside 2")).to_be_visible()
    expect(opened.get_by_role("rowheader", name="default", exact=True)).to_be_visible()
    expect(opened.get_by_role("row", name="kind of default")).to_contain_text("100")
    opened.get_by_role("link", name="Models").first.click()
    opened.get_by_role("button", name="Back to tiny version 1, fp32").click()
    expect(opened.locator("#model")).to_contain_text("tiny version 1")


def test_switch_that_label_sets_refuse_is_explained_once(opened: Page, server: RunningServer) -> None:
    with Client(server.url) as client:
        client.put_label_set("default", "kind", ["red", "blue", "round", "a cat", "a dog", "a tree", "noise"])
        proposed = {image.id: image.proposed for image in client.labelled_images("default", "kind").images}
        client.give_verdicts("default", "kind", proposed)
    opened.get_by_role("link", name="version 2", exact=True).click()
    opened.get_by_role("button", name="Activate").click()
    rollout = opened.get_by_role("region", name="Rollout")
    expect(rollout.get_by_role("status")).to_have_text("failed")
    expect(rollout.locator(".refused")).to_have_count(1)
    expect(rollout.locator(".refused")).to_contain_text(
        "models activate tiny 2 --precision fp32 --despite-labels"
    )


def test_version_shows_the_parity_of_bf16_that_was_measured_where_it_is_served(opened: Page) -> None:
    parity = {
        "cosine_min": 0.9956,
        "cosine_mean": 0.9997,
        "batch_cosine_min": 0.9999,
        "n_images": 7,
        "n_texts": 5,
    }

    def in_bf16(route: Route) -> None:
        response = route.fetch()
        entry = response.json()
        entry["serving"] |= {"precision": "bf16", "parity": parity}
        route.fulfill(response=response, json=entry)

    opened.route("**/models/tiny/versions/1", in_bf16)
    opened.get_by_role("link", name="version 1", exact=True).click()
    rows = opened.get_by_role("region", name="Parity").get_by_role("row")
    expect(rows.last).to_have_text(re.compile(r"bf16\s*0.99970\s*0.99560\s*7 pictures, 5 texts"))
    expect(rows).to_have_count(3)


def test_suggested_checkpoint_shows_the_commands_that_import_it(opened: Page) -> None:
    panel = opened.get_by_role("region", name="Checkpoints to import")
    expect(panel.get_by_label("Command in a clone")).to_contain_text("make serve-hub SOURCE=laion/")
    panel.get_by_role("radio", name="timm/ViT-B-32-SigLIP2-256").check()
    expect(panel.get_by_label("Command in a clone")).to_have_text(
        "make serve-hub SOURCE=timm/ViT-B-32-SigLIP2-256 NAME=siglip2-b-32"
    )
    expect(panel.get_by_label("Command elsewhere")).to_have_text(
        "diptych-train import timm/ViT-B-32-SigLIP2-256 --name siglip2-b-32"
    )
    expect(panel.get_by_role("row", name="timm/ViT-B-32-SigLIP2-256")).to_contain_text("73.2")

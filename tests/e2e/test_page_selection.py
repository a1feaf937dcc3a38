"""Several pictures at once on the page at /: select, delete with undo, tag, label, export."""

import csv
import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from diptych_client import Client
from support.browser import Watched
from support.pictures import noise
from support.server import RunningServer, serve
from support.tiny_bundle import TINY

pytestmark = pytest.mark.browser
NAMES = [f"noise-{i}" for i in range(6)]


@pytest.fixture
def server(tiny_repo: Path, tmp_path: Path) -> Iterator[RunningServer]:
    with serve(tiny_repo, TINY, tmp_path / "data") as running:
        with Client(running.url) as client:
            metadata = [{"name": name, "year": 2020 + i} for i, name in enumerate(NAMES)]
            client.add([noise(i) for i in range(len(NAMES))], ids=NAMES, metadata=metadata)
        yield running


@pytest.fixture
def opened(new_page: Callable[..., Watched], server: RunningServer) -> Iterator[Page]:
    watched = new_page()
    watched.page.goto(server.url)
    expect(watched.page.locator(".tile")).to_have_count(6)
    yield watched.page
    assert watched.complaints == []


def select(page: Page, *names: str) -> None:
    page.get_by_role("button", name="Select").click()
    for name in names:
        page.get_by_role("checkbox", name=name).click()


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ids(server: RunningServer) -> list[str]:
    with Client(server.url) as client:
        return [image.id for image in client.list_images("default").images]


def test_deleted_pictures_come_back_with_undo_and_the_focus_moves_to_the_next_one(
    opened: Page, server: RunningServer
) -> None:
    focused = opened.locator(".tile a:focus")
    opened.locator(".tile a").first.focus()
    for key in ("ArrowRight", "Enter"):
        opened.keyboard.press(key)
    opened.get_by_role("dialog", name="noise-1").get_by_role("button", name="Delete").press("Enter")
    expect(opened.locator(".tile")).to_have_count(5)
    expect(focused).to_have_accessible_name("noise-2")
    opened.get_by_role("button", name="Undo").press("Enter")
    expect(focused).to_have_accessible_name("noise-1")
    assert ids(server) == NAMES
    select(opened, "noise-4", "noise-5")
    opened.get_by_role("button", name="Delete").press("Enter")
    expect(opened.locator(".tile")).to_have_count(4)
    expect(focused).to_have_accessible_name("noise-3")  # those after it are gone
    opened.get_by_role("button", name="Select").press("Enter")
    opened.get_by_role("button", name="All 4").press("Enter")
    opened.get_by_role("button", name="Delete").press("Enter")
    expect(opened.locator(".tile")).to_have_count(0)
    expect(opened.locator("#find-status")).to_be_focused()
    opened.keyboard.press("Control+z")
    expect(focused).to_have_accessible_name("noise-0")


def test_arrow_keys_with_shift_select_a_range(opened: Page) -> None:
    chosen = opened.locator(".tile.selected .caption")
    opened.locator(".tile a").nth(2).focus()
    for _ in range(2):
        opened.keyboard.press("Shift+ArrowRight")
    expect(chosen).to_have_text(["noise-2", "noise-3", "noise-4"])
    for _ in range(3):
        opened.keyboard.press("Shift+ArrowLeft")
    expect(chosen).to_have_text(["noise-1", "noise-2"])
    opened.get_by_role("checkbox", name="noise-5").click()
    expect(chosen).to_have_text(["noise-1", "noise-2", "noise-5"])
    opened.get_by_role("checkbox", name="noise-4").click(modifiers=["Shift"])
    expect(opened.get_by_text("4 pictures selected")).to_be_visible()


def test_click_with_shift_begins_a_range(opened: Page) -> None:
    opened.locator(".tile a", has_text="noise-1").click(modifiers=["Shift"])
    expect(opened.get_by_text("1 picture selected")).to_be_visible()
    opened.get_by_role("checkbox", name="noise-3").click(modifiers=["Shift"])
    expect(opened.get_by_text("3 pictures selected")).to_be_visible()


def test_tag_is_taken_back(opened: Page, server: RunningServer) -> None:
    with Client(server.url) as client:
        client.patch_image("default", "noise-1", {"camera": {"make": "X"}})
        before = {id: client.get_image("default", id).metadata for id in NAMES[:2]}
        opened.reload()
        select(opened, "noise-0", "noise-1")
        for field in ("camera.owner", "year"):
            opened.get_by_role("button", name="Tag").click()
            opened.get_by_label("Field").fill(field)
            opened.get_by_label("Value").fill("Ada")
            opened.get_by_role("dialog").get_by_role("button", name="Tag").click()
            expect(opened.get_by_role("dialog")).to_have_count(0)
        assert client.get_image("default", "noise-1").metadata["camera"] == {"make": "X", "owner": "Ada"}
        for n in (1, 2):
            opened.keyboard.press("Control+z")
            expect(opened.get_by_text("2 pictures as before")).to_have_count(n)
        assert {id: client.get_image("default", id).metadata for id in NAMES[:2]} == before


def test_fields_that_the_server_writes_are_not_tagged(opened: Page) -> None:
    select(opened, "noise-0")
    opened.get_by_role("button", name="Tag").click()
    field = opened.get_by_label("Field")
    for name in ("file.name", "exif", " exif.taken_at", "filed", "camera.file"):
        field.fill(name)
        is_refused = name.strip().split(".")[0] in {"file", "exif"}
        assert field.evaluate("field => field.checkValidity()") != is_refused


def test_tag_that_no_picture_took_is_not_taken_back(
    new_page: Callable[..., Watched], server: RunningServer
) -> None:
    page = new_page().page
    page.goto(server.url)
    select(page, "noise-0", "noise-1")
    with Client(server.url) as client:
        for name, is_offered in (("noise-0", True), ("noise-1", False)):
            client.delete_image("default", name)
            page.get_by_role("button", name="Tag").click()
            page.get_by_label("Value").fill("sea")
            page.get_by_role("dialog").get_by_role("button", name="Tag").click()
            failed = page.locator(".toast", has_text=f"{2 - is_offered} failed")
            expect(failed.get_by_role("button", name="Undo")).to_have_count(int(is_offered))
            expect(failed).to_be_visible()


def test_pictures_are_labelled_and_it_is_taken_back(opened: Page, server: RunningServer) -> None:
    select(opened, "noise-0", "noise-5")
    opened.get_by_role("button", name="Label").click()
    expect(opened.get_by_role("link", name="Define labels")).to_be_visible()
    opened.get_by_role("button", name="Close").click()
    with Client(server.url) as client:
        client.put_label_set("default", "use", ["print", "web"])
        opened.get_by_role("button", name="Label").click()
        opened.get_by_role("dialog").get_by_role("combobox").select_option("web")
        opened.get_by_role("dialog").get_by_role("button", name="Label").click()

        def labelled() -> int:
            return client.label_set("default", "use").n_reviewed

        expect(opened.get_by_text("2 pictures labelled “web”")).to_be_visible()
        wait_for(lambda: labelled() == 2)
        opened.get_by_role("button", name="Undo").click()
        wait_for(lambda: labelled() == 0)


def test_contact_sheet_is_printed_once_its_pictures_are_loaded(
    new_page: Callable[..., Watched], server: RunningServer
) -> None:
    page = new_page().page
    page.add_init_script("""window.print = () => {
      const isShown = (selector) => document.querySelector(selector).checkVisibility();
      window.printed = {
        names: [...document.querySelectorAll(".sheet li")].map(({ textContent }) => textContent.trim()),
        areLoaded: [...document.querySelectorAll(".sheet img")].every(({ naturalWidth }) => naturalWidth > 0),
        shown: [".sheet", ".grid", ".top", "dialog"].filter(isShown),
      };
    }""")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/noise-4/thumbnail?size=512", hold)
    page.goto(server.url)
    select(page, "noise-1", "noise-4")
    page.get_by_role("button", name="Print").click()
    progress = page.get_by_role("progressbar", name="Loaded pictures")
    expect(progress).to_have_js_property("position", 0.5)
    page.emulate_media(media="print")
    held[0].continue_()
    wait_for(lambda: page.evaluate("Boolean(window.printed)"))
    assert page.evaluate("window.printed") == {
        "names": ["noise-1", "noise-4"],
        "areLoaded": True,
        "shown": [".sheet"],
    }
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator(".sheet")).to_have_count(0)
    expect(page.locator(".grid")).to_be_visible()


@pytest.mark.long
def test_selection_begun_after_a_deletion_outlasts_it_and_has_what_is_shown(
    opened: Page, server: RunningServer
) -> None:
    select(opened, "noise-0")
    opened.get_by_role("button", name="Delete").click()
    expect(opened.locator(".tile")).to_have_count(5)
    select(opened, "noise-2")
    opened.get_by_role("checkbox", name="noise-4").click(modifiers=["Shift"])
    expect(opened.get_by_text("3 pictures selected")).to_be_visible()
    opened.get_by_role("button", name="All 5").click()
    expect(opened.get_by_text("5 pictures selected")).to_be_visible()
    expect(opened.locator("#find-status")).to_have_text("5 pictures", timeout=20_000)
    assert ids(server) == NAMES[1:]
    expect(opened.get_by_text("5 pictures selected")).to_be_visible()


@pytest.mark.long
def test_deleted_pictures_are_gone_when_the_page_is_left(opened: Page, server: RunningServer) -> None:
    select(opened, "noise-1", "noise-2")
    opened.get_by_role("button", name="Delete").click()
    expect(opened.locator(".tile")).to_have_count(4)
    opened.goto("about:blank")
    opened.wait_for_timeout(500)
    assert ids(server) == ["noise-0", "noise-3", "noise-4", "noise-5"]


def test_pictures_are_tagged_and_their_metadata_edited(opened: Page, server: RunningServer) -> None:
    select(opened, "noise-0", "noise-5")
    for field, value in (("rating", "5"), ("camera.owner", "Ada")):
        opened.get_by_role("button", name="Tag").click()
        opened.get_by_label("Field").fill(field)
        opened.get_by_label("Value").fill(value)
        opened.get_by_role("dialog").get_by_role("button", name="Tag").click()
        expect(opened.get_by_role("dialog")).to_have_count(0)
    expect(opened.get_by_text("2 pictures tagged").first).to_be_visible()
    tagged = {"name": "noise-0", "year": 2020, "rating": 5, "camera": {"owner": "Ada"}}
    with Client(server.url) as client:
        assert client.get_image("default", "noise-0").metadata == tagged
        assert "rating" not in client.get_image("default", "noise-1").metadata
    opened.get_by_role("button", name="Done").click()
    opened.locator(".filters summary").click()
    expect(opened.get_by_role("group", name="rating").get_by_label("5")).to_be_visible()
    opened.keyboard.press("Escape")
    opened.locator(".tile", has_text="noise-3").click()
    opened.get_by_role("button", name="Edit the metadata").click()
    form = opened.get_by_role("form", name="Metadata")
    form.get_by_label("Value 1").fill("storm")
    form.get_by_label("Value 2").fill("2031")
    form.get_by_role("button", name="Add a field").click()
    form.get_by_label("Field 3").fill("place")
    form.get_by_label("Value 3").fill("sea")
    form.get_by_role("button", name="Save").click()
    expect(opened.get_by_role("heading", name="storm")).to_be_visible()
    with Client(server.url) as client:
        assert client.get_image("default", "noise-3").metadata == {
            "name": "storm",
            "year": 2031,
            "place": "sea",
        }
    opened.get_by_role("button", name="Edit the metadata").click()
    opened.get_by_role("button", name="Remove year").click()
    form.get_by_role("button", name="Save").click()
    expect(form).to_have_count(0)
    with Client(server.url) as client:
        assert client.get_image("default", "noise-3").metadata == {"name": "storm", "place": "sea"}
    opened.keyboard.press("Escape")
    expect(opened.locator(".tile", has_text="storm")).to_be_visible()


def test_selected_pictures_are_exported(opened: Page, server: RunningServer) -> None:
    def exported(kind: str) -> bytes:
        opened.get_by_role("button", name="Export").click()
        with opened.expect_download() as saved:
            opened.get_by_role("button", name=kind).click()
        return saved.value.path().read_bytes()

    texts = ["=1+1", "+1", "-1", "@a", "\t=1", "\r=1", "\n=1"]  # formulas, for a spreadsheet
    with Client(server.url) as client:
        client.patch_image("default", "noise-2", dict(zip("abcdefg", texts, strict=True)))
        file = {"name": "3.png", "folder": "../Über/fjord"}
        client.patch_image("default", "noise-3", {"name": "Bär: 湖, A/B", "file": file})
    opened.reload()
    select(opened, "noise-2", "Bär")
    rows = list(csv.DictReader(io.StringIO(exported("CSV").decode(), newline="")))
    assert [rows[0][field] for field in "abcdefg"] == [f"'{text}" for text in texts]
    assert [(row["id"], row["year"]) for row in rows] == [("noise-2", "2022"), ("noise-3", "2023")]
    lines = [json.loads(line) for line in exported("JSON").splitlines()]
    assert [line["metadata"]["name"] for line in lines] == ["noise-2", "Bär: 湖, A/B"]
    with zipfile.ZipFile(io.BytesIO(exported("ZIP"))) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == ["noise-2.png", "Über/fjord/Bär_ 湖, A_B.png"]
        assert archive.read("noise-2.png") == noise(2)

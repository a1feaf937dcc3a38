"""The classify view of the page at /: labels, bars, many pictures."""

import base64
import csv
import io
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import FilePayload, Page, expect

from support.browser import Watched
from support.pictures import picture
from support.server import RunningServer

pytestmark = pytest.mark.browser

DISPATCH_PICTURE = """([selector, kind, data]) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], "picture.png", { type: "image/png" }));
  const event = kind === "paste"
    ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true })
    : new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true });
  document.querySelector(selector).dispatchEvent(event);
}"""
PASTE_TEXT = """([selector, text]) => {
  const transfer = new DataTransfer();
  transfer.setData("text", text);
  document.querySelector(selector).dispatchEvent(
    new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true }));
}"""


def file(colour: str) -> FilePayload:
    return {"name": f"{colour}.png", "mimeType": "image/png", "buffer": picture(colour)}


def set_labels(page: Page, *labels: str) -> None:
    """Leave exactly these labels."""
    page.get_by_role("button", name="Clear", exact=True).last.click()
    for label in labels:
        page.fill("#new-label", label)
        page.press("#new-label", "Enter")
    expect(page.locator(".chip")).to_have_count(len(labels))


def labels_of(page: Page) -> list[str]:
    return page.locator(".chip input").evaluate_all("inputs => inputs.map((input) => input.value)")


@pytest.fixture
def opened(new_page: Callable[..., Watched], gallery_server: RunningServer) -> Iterator[Page]:
    watched = new_page()
    watched.page.goto(f"{gallery_server.url}/#/classify")
    expect(watched.page.locator(".chip")).to_have_count(16)
    yield watched.page
    assert watched.foreign_requests(gallery_server.url) == []
    assert watched.complaints == []


def test_chosen_file_is_embedded_once_and_gets_label_bars_best_first(opened: Page) -> None:
    embedded = []
    opened.on(
        "request", lambda request: embedded.append(request.url) if request.url.endswith("/embed") else None
    )
    set_labels(opened, "blue", "red", "green")
    opened.set_input_files("#file", file("red"))
    expect(opened.locator("#bars li")).to_have_count(3)
    expect(opened.locator("#bars .label").first).to_have_text("red")
    expect(opened.locator("#name-status")).to_contain_text("of 3 labels")
    scores = [float(text.strip("<% ")) for text in opened.locator("#bars .score").all_inner_texts()]
    assert scores == sorted(scores, reverse=True)
    opened.locator(".chip input").first.fill("red, plain")
    opened.locator(".chip input").first.press("Enter")
    opened.fill("#new-label", "<img src=x onerror=alert(1)>")
    opened.press("#new-label", "Enter")
    expect(opened.locator("#bars li")).to_have_count(4)
    expect(opened.locator("#bars .label", has_text="red, plain")).to_have_count(1)
    assert (len(embedded), opened.locator("#bars img").count()) == (1, 0)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_dropped_or_pasted_picture_gets_label_bars(opened: Page, kind: str) -> None:
    set_labels(opened, "yellow", "black")
    target = ".classify .panel" if kind == "drop" else "body"
    opened.evaluate(DISPATCH_PICTURE, [target, kind, base64.b64encode(picture("black")).decode()])
    expect(opened.locator("#bars .label").first).to_have_text("black")


def test_pasted_list_becomes_labels(opened: Page) -> None:
    set_labels(opened)
    opened.evaluate(PASTE_TEXT, ["#new-label", "red\nblue, light\n\ngreen"])
    assert labels_of(opened) == ["red", "blue, light", "green"]
    opened.evaluate(PASTE_TEXT, ["#new-label", "black, white; grey"])
    assert labels_of(opened) == ["red", "blue, light", "green", "black", "white", "grey"]


@pytest.mark.long
def test_sentence_around_the_labels_is_chosen(opened: Page) -> None:
    set_labels(opened, "red", "blue")
    opened.set_input_files("#file", file("red"))
    expect(opened.locator("#bars li")).to_have_count(2)
    with opened.expect_request("**/classify") as sent:
        opened.get_by_role("combobox", name="Sentence").select_option("own")
    assert sent.value.post_data_json["template"] == "a photo of a {}."
    with opened.expect_request("**/classify") as sent:
        opened.get_by_label("My own sentence").fill("this is {}")
        opened.get_by_label("My own sentence").press("Tab")
    assert sent.value.post_data_json["template"] == "this is {}"
    expect(opened.locator("#bars .label").first).to_have_text("red")


def test_many_pictures_become_a_table_that_is_sorted_and_saved(opened: Page) -> None:
    set_labels(opened, "red", "blue", "green")
    opened.set_input_files("#file", [file("red"), file("blue"), file("green")])
    expect(opened.get_by_text("3 of 3 pictures classified")).to_be_visible()
    rows = opened.locator("tbody tr")
    expect(rows.nth(1)).to_contain_text("blue.png")
    opened.get_by_role("button", name="Picture", exact=True).click()
    expect(rows.first).to_contain_text("blue.png")
    expect(rows.first.locator("td").first).to_have_text("blue")
    opened.get_by_role("button", name="red.png").first.click()
    expect(opened.locator("#name-status")).to_contain_text("red.png: most likely")
    with opened.expect_download() as saved:
        opened.get_by_role("button", name="Save as CSV").click()
    lines = list(csv.reader(io.StringIO(saved.value.path().read_text(encoding="utf-8"))))
    assert lines[0][:3] == ["picture", "label 1", "score 1"]
    assert {line[0]: line[1] for line in lines[1:]} == {
        "blue.png": "blue",
        "green.png": "green",
        "red.png": "red",
    }


@pytest.mark.long
def test_picture_of_a_collection_is_classified(opened: Page) -> None:
    set_labels(opened, "white", "black")
    opened.get_by_role("link", name="Search", exact=True).click()
    opened.locator(".tile", has_text="white").click()
    opened.get_by_role("dialog").get_by_role("button", name="Classify").click()
    expect(opened.locator("figcaption").first).to_have_text("white")
    expect(opened.locator("#bars .label").first).to_have_text("white")
    assert labels_of(opened) == ["white", "black"]  # they stay while other views are shown


@pytest.mark.long
def test_camera_takes_a_picture(new_page: Callable[..., Watched], gallery_server: RunningServer) -> None:
    page = new_page(permissions=["camera"]).page
    page.add_init_script("""navigator.mediaDevices.getUserMedia = async () => {
      const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
      canvas.getContext("2d").fillStyle = "red";
      canvas.getContext("2d").fillRect(0, 0, 64, 64);
      return canvas.captureStream(5);
    }""")
    page.goto(f"{gallery_server.url}/#/classify")
    set_labels(page, "red", "blue")
    page.get_by_role("button", name="Camera").click()
    page.get_by_role("button", name="Take the picture").click()
    expect(page.locator("figcaption")).to_contain_text("camera")
    expect(page.locator("#bars li")).to_have_count(2)

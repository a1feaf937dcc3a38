"""How the search view shows pictures: photographs fill their tiles, and a slider makes all of them larger."""

import io
import re
from collections.abc import Callable, Iterator

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Page, Route, expect

from diptych_client import Client
from support.browser import Watched
from support.pictures import encoded, noise
from support.server import RunningServer

pytestmark = pytest.mark.browser
COLLECTION = "tiles"


def drawing(mode: str) -> bytes:
    """A disc on white ground, or on none, that touches one corner."""
    image = Image.new(mode, (64, 48), (255, 255, 255, 0)[: len(mode)])
    draw = ImageDraw.Draw(image)
    draw.ellipse((10, 8, 54, 40), fill="red")
    draw.rectangle((0, 0, 6, 6), fill="blue")
    return encoded(image)


@pytest.fixture(scope="module", autouse=True)
def collection(gallery_server: RunningServer) -> Iterator[None]:
    pictures = {
        "0-photograph": noise(0, size=(90, 60)),
        "1-on-white": drawing("RGB"),
        "2-transparent": drawing("RGBA"),
    }
    with Client(gallery_server.url) as client:
        client.create_collection(COLLECTION)
        client.add(list(pictures.values()), ids=list(pictures), collection=COLLECTION)
        yield
        client.drop_collection(COLLECTION)


@pytest.fixture
def opened(new_page: Callable[..., Watched], gallery_server: RunningServer) -> Iterator[Page]:
    watched = new_page()
    watched.page.goto(f"{gallery_server.url}/#/search?collection={COLLECTION}")
    expect(watched.page.locator(".tile a").first).to_be_visible()
    yield watched.page
    assert watched.complaints == []


def share_of_tile(page: Page, name: str) -> float:
    """How much of the square the picture itself covers, of either side the lesser."""
    image = page.locator(".tile", has_text=name).locator("img")
    expect(image).to_have_css("opacity", "1")
    return float(
        image.evaluate(
            """image => {
              const { paddingLeft, width, objectFit } = getComputedStyle(image);
              const inner = (parseFloat(width) - 2 * parseFloat(paddingLeft)) / parseFloat(width);
              const { naturalWidth: w, naturalHeight: h } = image;
              return objectFit === "cover" ? inner : (inner * Math.min(w, h)) / Math.max(w, h);
            }"""
        )
    )


def test_photograph_fills_its_tile_and_a_drawing_keeps_its_mount(opened: Page) -> None:
    assert share_of_tile(opened, "0-photograph") == 1
    assert share_of_tile(opened, "1-on-white") < 0.7
    assert share_of_tile(opened, "2-transparent") < 0.7


def test_selected_photographs_and_drawings_have_the_same_frame(opened: Page) -> None:
    opened.get_by_role("button", name="Select").click()
    for tile in opened.locator(".tile a").all():
        tile.click()
    opened.mouse.move(0, 0)
    expect(opened.locator(".tile .unseen-yet")).to_have_count(0)
    accent = opened.locator(".tile").first.evaluate(GROUND, "::before")
    for tile in opened.locator(".tile a").all():
        with Image.open(io.BytesIO(tile.screenshot())) as shown:
            row = [shown.convert("RGB").getpixel((x, 60)) for x in (1, 4)]
        assert [f"rgb{pixel}" == accent for pixel in row] == [True, False]


def test_size_of_the_tiles_is_remembered(opened: Page) -> None:
    def width() -> float:
        box = opened.locator(".tile a").first.bounding_box()
        assert box is not None
        return box["width"]

    usual = width()
    opened.get_by_label("Size of the pictures").fill("4")
    assert width() > 1.5 * usual
    opened.reload()
    expect(opened.get_by_label("Size of the pictures")).to_have_value("4")
    assert width() > 1.5 * usual


def test_rows_show_whole_pictures_and_are_remembered(opened: Page) -> None:
    def ratio(name: str) -> float:
        box = opened.locator(".tile", has_text=name).locator("img").bounding_box()
        assert box is not None
        return box["width"] / box["height"]

    assert ratio("0-photograph") == pytest.approx(1, abs=0.02)
    opened.get_by_role("button", name="Whole pictures in rows").click()
    expect(opened.locator(".tile .mounted")).to_have_count(2)
    assert ratio("0-photograph") == pytest.approx(90 / 60, abs=0.02)
    opened.reload()
    expect(opened.locator(".tile .fills")).to_have_count(1)
    assert ratio("0-photograph") == pytest.approx(90 / 60, abs=0.02)
    opened.locator(".tile a").first.focus()
    opened.keyboard.press("ArrowRight")
    expect(opened.locator(".tile a:focus")).to_have_accessible_name("1-on-white")


def test_long_name_is_cut_in_its_middle(opened: Page, gallery_server: RunningServer) -> None:
    name = "pictures of a long journey through the mountains IMG_0042.jpg"
    with Client(gallery_server.url) as client:
        client.patch_image(COLLECTION, "0-photograph", {"name": name})
    opened.reload()
    caption = opened.locator(".tile .caption", has_text="IMG_0042.jpg")
    expect(caption).to_have_text(name)
    is_cut = "span => span.scrollWidth > span.clientWidth"
    assert [part.evaluate(is_cut) for part in caption.locator("span").all()] == [True, False]
    expect(caption.locator("..")).to_have_attribute("title", name)
    with Client(gallery_server.url) as client:
        client.patch_image(COLLECTION, "0-photograph", {"name": None})


GROUND = "(element, part) => getComputedStyle(element, part).backgroundColor"


def is_dark(colour: str) -> bool:
    return max(int(part) for part in re.findall(r"\d+", colour)[:3]) < 64


def test_in_the_dark_only_drawings_stand_on_a_light_ground(
    new_page: Callable[..., Watched], gallery_server: RunningServer
) -> None:
    page = new_page(color_scheme="dark").page
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/thumbnail?*", hold)
    page.goto(f"{gallery_server.url}/#/search?collection={COLLECTION}")
    tile = page.locator(".tile a")
    expect(tile).to_have_count(3)
    assert is_dark(tile.nth(1).evaluate(GROUND, "::before"))
    for route in held:
        route.continue_()
    page.unroute("**/thumbnail?*", hold)
    expect(page.locator(".tile .mounted")).to_have_count(2)
    assert not is_dark(tile.nth(1).evaluate(GROUND, "::before"))
    for name, dark in (("0-photograph", True), ("1-on-white", False)):
        tile.filter(has_text=name).click()
        expect(page.locator(".picture-stage .mounted")).to_have_count(int(not dark))
        assert is_dark(page.locator(".picture-stage").evaluate(GROUND)) == dark
        page.keyboard.press("Escape")
    with Client(gallery_server.url) as client:
        client.put_label_set(COLLECTION, "use", ["print", "web"])
    page.goto(f"{gallery_server.url}/#/label?collection={COLLECTION}")
    stage = page.locator(".asked-stage")
    for _ in range(2):
        expect(stage.locator("img:visible:not(.unseen-yet, .stand-in)")).to_have_count(1)
        figure = stage.locator("figure:visible")
        drawn = figure.locator(".mounted").count()
        assert is_dark(stage.evaluate(GROUND))
        assert is_dark(figure.evaluate(GROUND)) == (drawn == 0)
        page.keyboard.press("ArrowRight")

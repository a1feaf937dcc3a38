"""The label view of the page at /: define a set, review by keys, correct, and see pictures by label."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Request, Route, expect

from diptych_client import Client, LabelSetReport
from support.browser import Watched
from support.pictures import noise, picture
from support.server import RunningServer, serve
from support.tiny_bundle import TINY, write_tiny_bundle
from support.tiny_graphs import COLOURS

pytestmark = pytest.mark.browser
OpenPage = Callable[..., Watched]
N_NOISES = 10
N_PICTURES = len(COLOURS) + N_NOISES
KEY = "a-key-of-the-tests"
LABELS = ["red", "green", "blue"]


@pytest.fixture(scope="module")
def server(tiny_repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Plain pictures named by their colour, and noise. Each test has a label set of its own."""
    with serve(tiny_repo, TINY, tmp_path_factory.mktemp("label")) as running:
        with Client(running.url) as client:
            noises = {f"noise-{i}": noise(i) for i in range(N_NOISES)}
            pictures = {colour: picture(colour, size=(64, 64)) for colour in COLOURS} | noises
            client.add(list(pictures.values()), ids=list(pictures))
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


@pytest.fixture
def opened(new_page: OpenPage, server: RunningServer, client: Client) -> Iterator[Page]:
    """The view of a set `kind` with three colours."""
    client.put_label_set("default", "kind", LABELS)
    watched = new_page()
    watched.page.goto(f"{server.url}/#/label?set=kind")
    expect(asked(watched.page)).not_to_be_empty()
    yield watched.page
    assert watched.foreign_requests(server.url) == []
    assert [said for said in watched.complaints if "Failed to load resource" not in said] == []
    client.drop_label_set("default", "kind")


def asked(page: Page) -> Locator:
    """The name of the picture that is asked about."""
    return page.locator(".asked-stage figure:not([hidden]) figcaption")


def see(page: Page) -> str:
    """Wait until the picture that is asked about is shown, and return its name."""
    expect(page.locator(".confirm")).to_be_enabled()
    return asked(page).inner_text()


def press(page: Page, key: str) -> str:
    """Press a key once the picture is shown, wait for the next one, and return the name of the one before."""
    before = see(page)
    page.keyboard.press(key)
    expect(asked(page)).not_to_have_text(before)
    return before


def wait_until_sent(page: Page) -> None:
    """No answer, and nothing that was taken back, is kept by the tab any more."""
    while page.evaluate("sessionStorage['diptych.answers']") not in {None, "[]"}:
        page.wait_for_timeout(20)


def verdicts(client: Client, name: str = "kind") -> dict[str, tuple[str, ...]]:
    images = client.labelled_images("default", name).images
    return {image.id: tuple(image.labels) for image in images if image.verdict}


def report(client: Client, name: str = "kind") -> LabelSetReport:
    return client.label_set("default", name)


def column(page: Page, label: str) -> Locator:
    return page.get_by_role("region", name=label, exact=True)


def test_set_is_defined_and_its_pictures_are_sorted_and_found_by_a_search(
    new_page: OpenPage, server: RunningServer, client: Client
) -> None:
    page = new_page().page
    page.goto(server.url)
    page.get_by_role("link", name="Label").click()
    page.get_by_role("button", name="Define labels").click()
    page.get_by_label("Name").fill("colour")
    page.get_by_label("Labels, one a line").fill("red | scarlet\n\nblue\n")
    page.get_by_role("button", name="Sort the pictures").click()
    expect(asked(page)).not_to_be_empty()
    counts = {row.label: row.n for row in report(client, "colour").counts}
    assert [one.words for one in report(client, "colour").labels] == [("scarlet",), ()]
    expect(column(page, "red").locator("header .status")).to_have_text(str(counts["red"]))
    expect(column(page, "blue").locator("li")).to_have_count(counts["blue"])
    column(page, "red").get_by_role("link").click()
    expect(page.locator("#find-status")).to_have_text(f"{counts['red']} pictures of {N_PICTURES} pictures")
    page.locator(".filters summary").click()
    page.get_by_role("group", name="label").get_by_label("red").click()
    expect(page.locator("#find-status")).to_have_text(f"{N_PICTURES} pictures")
    client.drop_label_set("default", "colour")


def test_review_by_keys_confirms_corrects_skips_and_undoes(opened: Page, client: Client) -> None:
    proposed = {image.id: tuple(image.labels) for image in client.labelled_images("default", "kind").images}
    skipped = press(opened, "ArrowRight")
    confirmed = press(opened, "Space")
    said = {confirmed: proposed[confirmed]}
    said |= {press(opened, "2"): ("green",), press(opened, "0"): (), press(opened, "n"): ()}
    expect(opened.locator("#reviewed")).to_have_text("4")
    undone = press(opened, "3")
    opened.keyboard.press("z")
    expect(asked(opened)).to_have_text(undone)
    assert press(opened, "1") == undone
    said[undone] = ("red",)
    taken_back = press(opened, "1")
    opened.keyboard.press("Control+z")
    expect(asked(opened)).to_have_text(taken_back)
    expect(opened.locator("#reviewed")).to_have_text(str(len(said)))
    wait_until_sent(opened)
    assert skipped not in said
    assert verdicts(client) == said
    assert report(client).accuracy.n == 1  # every fifth is drawn at random
    opened.reload()  # it goes on where it stopped
    expect(opened.locator("#reviewed")).to_have_text(str(len(said)))
    assert asked(opened).inner_text() not in said


def test_everything_is_reviewed_once_the_skipped_ones_are_too(opened: Page) -> None:
    opened.keyboard.press("ArrowRight")
    for _ in range(N_PICTURES - 2):
        press(opened, "Space")
    see(opened)
    opened.keyboard.press("Space")
    expect(opened.get_by_text("Only skipped pictures are left")).to_be_visible()
    opened.get_by_role("button", name="Look at them again").click()
    see(opened)
    opened.keyboard.press("Space")
    expect(opened.get_by_text("Every picture is reviewed")).to_be_visible()
    expect(opened.locator("#reviewed")).to_have_text(str(N_PICTURES))
    expect(opened.get_by_label("Goal")).to_have_value(str(N_PICTURES))
    expect(opened.locator(".goal")).to_contain_text(
        re.compile("on [34] drawn at random")
    )  # a view that is left alone for long asks anew


def test_new_label_is_applied_at_once_and_one_that_was_given_is_dropped_with_its_verdicts(
    opened: Page, client: Client
) -> None:
    opened.get_by_label("Add a label").fill("yellow")
    opened.keyboard.press("Enter")
    expect(column(opened, "yellow")).to_contain_text("yellow")
    expect(column(opened, "yellow").get_by_role("button", name="yellow")).to_be_visible()
    shown = press(opened, "4")
    expect(column(opened, "yellow").get_by_role("button", name=f"{shown}, reviewed")).to_be_visible()
    opened.get_by_role("button", name="Edit labels").click()
    opened.get_by_label("Labels, one a line").fill("\n".join(LABELS))
    opened.get_by_role("button", name="Change").click()
    expect(opened.get_by_role("alert")).to_contain_text("1 of the verdicts")
    opened.get_by_role("button", name="Change the set, and drop them").click()
    expect(column(opened, "yellow")).to_have_count(0)
    expect(opened.locator("#reviewed")).to_have_text("0")
    assert [one.label for one in report(client).labels] == LABELS
    while asked(opened).inner_text() != shown:  # it is asked about again
        press(opened, "ArrowRight")


def test_selected_pictures_get_one_label_and_ctrl_z_takes_it_back(opened: Page, client: Client) -> None:
    opened.get_by_role("button", name="Select").click()
    green = column(opened, "green").get_by_role("checkbox")
    chosen = [green.nth(0).get_attribute("title"), green.nth(2).get_attribute("title")]
    assert None not in chosen
    green.nth(0).click()
    green.nth(2).click(modifiers=["Shift"])
    expect(opened.get_by_text("3 pictures selected")).to_be_visible()
    form = opened.get_by_role("form", name="Selected pictures")
    form.get_by_label("Label").select_option("blue")
    form.get_by_role("button", name="Give it").click()
    expect(column(opened, "blue").locator(".reviewed")).to_have_count(3)
    assert set(verdicts(client).values()) == {("blue",)}
    opened.keyboard.press("Control+z")
    expect(column(opened, "blue").locator(".reviewed")).to_have_count(0)
    assert verdicts(client) == {}


def test_picture_of_a_column_opens_large_where_its_label_is_changed(opened: Page, client: Client) -> None:
    column(opened, "red").get_by_role("button", name="red,").click()
    dialog = opened.get_by_role("dialog", name="red")
    expect(dialog.get_by_role("button", name="red", exact=True)).to_have_attribute("aria-pressed", "true")
    opened.keyboard.press("3")
    expect(dialog.get_by_text("your word")).to_be_visible()
    opened.keyboard.press("Escape")
    expect(column(opened, "blue").get_by_role("button", name="red, reviewed")).to_be_visible()
    column(opened, "green").get_by_role("button", name="green,").click()
    expect(opened.get_by_role("dialog", name="green")).to_be_visible()
    opened.keyboard.press("2")
    opened.keyboard.press("Escape")
    expect(column(opened, "green").get_by_role("button", name="green, reviewed")).to_be_visible()
    assert verdicts(client) == {"red": ("blue",), "green": ("green",)}


def test_answers_that_could_not_be_sent_are_kept_and_sent_later(opened: Page, client: Client) -> None:
    opened.route("**/verdicts", lambda route: route.abort())
    said = {press(opened, "1"), press(opened, "1")}
    expect(opened.get_by_role("alert")).to_contain_text("2 answers not stored yet")
    opened.get_by_role("link", name="Status").click()
    opened.evaluate("() => { window.fetch = () => Promise.reject(); }")  # nor when the page is left
    assert verdicts(client) == {}
    opened.unroute("**/verdicts")
    opened.reload()
    opened.get_by_role("link", name="Label").click()
    expect(opened.locator("#reviewed")).to_have_text("2")
    expect(opened.get_by_role("alert")).to_have_count(0)
    wait_until_sent(opened)
    assert set(verdicts(client)) == said


def test_answer_about_a_replaced_picture_does_not_count_and_it_is_asked_about_again(
    opened: Page, client: Client
) -> None:
    shown = asked(opened).inner_text()
    original = client.original("default", shown)
    client.add([noise(99)], ids=[shown], replace=True)
    press(opened, "1")
    expect(opened.get_by_text(f"“{shown}” was replaced by another picture")).to_be_visible()
    expect(opened.locator("#reviewed")).to_have_text("0")
    assert verdicts(client) == {}
    while asked(opened).inner_text() != shown:  # in its turn
        press(opened, "1")
    expect(opened.locator(".asked-stage figure:not([hidden]) img")).to_have_js_property("naturalWidth", 48)
    client.add([original], ids=[shown], replace=True)


def test_both_keys_are_told_of_a_changed_answer_and_a_key_that_may_only_read_reviews_nothing(
    new_page: OpenPage, tiny_repo: Path, tmp_path: Path
) -> None:
    with serve(tiny_repo, TINY, tmp_path, "--api-key", KEY) as server, Client(server.url, KEY) as admin:
        admin.add([picture("red")], ids=["red"])
        admin.put_label_set("default", "kind", LABELS)
        reader = admin.create_key("visitor").key
        writer = admin.create_key("notebook", "write").key
        page = new_page().page
        page.goto(f"{server.url}/#/label")
        page.get_by_label("API key").fill(KEY)
        page.keyboard.press("Enter")
        expect(asked(page)).to_have_text("red")
        with Client(server.url, writer) as other:
            other.give_verdicts("default", "kind", {"red": "blue"})
        see(page)
        page.keyboard.press("1")
        expect(
            page.get_by_text("“notebook” had said blue of red. Your word is the later one")
        ).to_be_visible()
        page = new_page().page
        page.goto(f"{server.url}/#/label")
        page.get_by_label("API key").fill(writer)
        page.keyboard.press("Enter")
        changed = page.get_by_text("Reviewers differ about 1 picture.")
        changed.get_by_role("button", name="Look at it").press("Enter")
        dialog = page.get_by_role("dialog", name="red")
        expect(
            dialog.get_by_text("the word of DIPTYCH_API_KEY, in place of blue by notebook")
        ).to_be_visible()
        dialog.get_by_role("button", name="Agree").press("Enter")
        expect(dialog.get_by_text("your word")).to_be_visible()
        expect(dialog.locator(".labelled-choices")).to_be_focused()
        wait_until_sent(page)
        page.keyboard.press("z")
        expect(dialog.get_by_role("button", name="Agree")).to_be_visible()
        wait_until_sent(page)
        assert admin.label_set("default", "kind").n_contested == 1
        dialog.get_by_role("button", name="Agree").press("Enter")
        expect(dialog.get_by_text("your word")).to_be_visible()
        page.keyboard.press("Escape")
        expect(changed).to_have_count(0)
        assert admin.label_set("default", "kind").n_contested == 0
        page = new_page().page
        page.goto(f"{server.url}/#/label")
        page.get_by_label("API key").fill(reader)
        page.keyboard.press("Enter")
        expect(page.get_by_text("Your key may look, but not review.")).to_be_visible()
        expect(column(page, "red").locator(".reviewed")).to_have_count(1)
        expect(page.locator("main button")).to_have_text(["✓", "CSV", "JSON Lines"])


def test_set_of_many_labels_is_toggled_and_a_long_one_is_typed_into(
    opened: Page, server: RunningServer, client: Client
) -> None:
    labels = [*COLOURS, "cat", "dog", "horse", "house"]
    client.put_label_set("default", "long", labels, kind="many", min_score=0)
    opened.goto(f"{server.url}/#/label?set=long")
    see(opened)
    opened.get_by_role("button", name="None of these").click()
    expect(opened.locator("#reviewed")).to_have_text("1")
    pressed = opened.locator(".label-choices [aria-pressed=true]")
    n = pressed.count()
    opened.keyboard.press("1")
    expect(pressed).to_have_count(n - 1)
    opened.keyboard.type("hous")
    expect(opened.locator(".label-choices button")).to_have_text(["house1", "None of these0"])
    opened.keyboard.press("Enter")
    expect(pressed).to_have_count(n - 2)
    shown = press(opened, "Space")
    expect(opened.locator("#reviewed")).to_have_text("2")
    wait_until_sent(opened)
    assert set(verdicts(client, "long")[shown]) == set(labels) - {"red", "house"}
    client.drop_label_set("default", "long")


def test_phone_shows_the_picture_its_proposal_and_the_labels_without_scrolling(
    new_page: OpenPage, server: RunningServer, client: Client
) -> None:
    client.put_label_set(
        "default", "kind", ["red", "green", "blue", "yellow", "black", "white", "cat", "dog"]
    )
    size = {"width": 360, "height": 740}
    page = new_page(viewport=size, has_touch=True, is_mobile=True).page
    page.goto(f"{server.url}/#/label?set=kind")
    expect(asked(page)).not_to_be_empty()
    for part in page.locator(".asked-stage, .confirm, .label-choices button, .review-steps button").all():
        expect(part).to_be_in_viewport(ratio=1)
    heights = page.locator("main button:visible").evaluate_all(
        "buttons => buttons.map((button) => button.getBoundingClientRect().height)"
    )
    assert min(heights) >= 40
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.get_by_role("tab", name="blue").tap()
    expect(column(page, "blue").locator("li").first).to_be_visible()
    before = asked(page).inner_text()
    page.locator(".confirm").tap()
    expect(asked(page)).not_to_have_text(before)
    client.drop_label_set("default", "kind")


def refuse(status: int, route: Route) -> None:
    route.fulfill(status=status, json={"title": "Sorry", "detail": f"it is {status}"})


def test_view_says_what_is_missing_or_cannot_be_done(
    new_page: OpenPage, server: RunningServer, client: Client
) -> None:
    client.put_label_set("default", "kind", LABELS)
    page = new_page().page
    page.goto(f"{server.url}/#/label?set=nothing")
    expect(page.get_by_text("There is no label set “nothing” here")).to_be_visible()
    for status, said in ((409, "cannot be labelled now"), (503, "tried again by itself"), (500, "Try again")):
        page.route("**/label-sets/kind", partial(refuse, status))
        page.goto(f"{server.url}/#/label?set=kind")
        page.reload()
        expect(page.locator("main")).to_contain_text(said)
        expect(page.locator("main")).to_contain_text(f"it is {status}")
        page.unroute("**/label-sets/kind")
    page.get_by_role("button", name="Try again").click()
    expect(asked(page)).not_to_be_empty()
    client.create_collection("empty")
    page.goto(f"{server.url}/#/label?collection=empty")
    page.reload()
    expect(page.get_by_text("Sort your pictures by labels of your own")).to_be_visible()
    client.put_label_set("empty", "kind", LABELS)
    page.reload()
    expect(page.get_by_text("No pictures here yet")).to_be_visible()
    client.drop_collection("empty")
    client.drop_label_set("default", "kind")


def test_held_key_and_a_double_click_are_one_answer(opened: Page, client: Client) -> None:
    first = see(opened)
    opened.keyboard.down("1")
    for _ in range(5):
        expect(asked(opened)).not_to_have_text(first)
        second = see(opened)
        opened.keyboard.down("1")  # repeated, as it is not up
    opened.keyboard.up("1")
    assert second == see(opened)
    opened.get_by_role("button", name="green", exact=True).dblclick()
    expect(asked(opened)).not_to_have_text(second)
    third = see(opened)
    opened.locator(".confirm").dblclick()
    expect(asked(opened)).not_to_have_text(third)
    expect(opened.locator("#reviewed")).to_have_text("3")
    wait_until_sent(opened)
    assert set(verdicts(client)) == {first, second, third}


def test_picture_that_is_not_shown_is_answered_by_a_click_alone(
    new_page: OpenPage, server: RunningServer, client: Client
) -> None:
    client.put_label_set("default", "kind", LABELS)
    page = new_page().page
    held: list[Route] = []
    page.route("**/images/*/*", lambda route: held.append(route))  # noqa: PLW0108 - Playwright marks its handlers
    page.goto(f"{server.url}/#/label?set=kind")
    expect(asked(page)).not_to_be_empty()
    shown = asked(page).inner_text()
    page.keyboard.press("1")
    expect(page.locator(".confirm")).to_be_disabled()
    page.route("**/images/*/*", lambda route: route.abort())
    for route in held:
        route.abort()
    expect(page.get_by_text("The picture cannot be shown")).to_be_visible()
    assert asked(page).inner_text() == shown
    page.keyboard.press("1")
    assert asked(page).inner_text() == shown
    page.get_by_role("button", name="green", exact=True).click()
    expect(page.locator("#reviewed")).to_have_text("1")
    wait_until_sent(page)
    assert verdicts(client) == {shown: ("green",)}
    client.drop_label_set("default", "kind")


def lose_responses(page: Page, n: int) -> None:
    """The server stores the next answers, and the page does not hear of it."""

    def lose(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route("**/verdicts", lose, times=n)


def is_lost_answer(request: Request) -> bool:
    return request.url.endswith("/verdicts") and request.failure is not None


def test_answer_whose_response_was_lost_is_taken_back_before_and_after_it_is_sent_again(
    opened: Page, client: Client
) -> None:
    lose_responses(opened, 1)
    with opened.expect_event("requestfailed", is_lost_answer):
        sent_again = press(opened, "1")
    assert verdicts(client) == {sent_again: ("red",)}
    wait_until_sent(opened)
    opened.keyboard.press("z")
    expect(asked(opened)).to_have_text(sent_again)
    wait_until_sent(opened)
    assert verdicts(client) == {}
    lose_responses(opened, 1)
    with opened.expect_event("requestfailed", is_lost_answer):
        press(opened, "1")
    opened.keyboard.press("z")
    expect(opened.get_by_role("alert")).to_have_count(0)
    wait_until_sent(opened)
    assert verdicts(client) == {}


def test_undo_of_an_answer_on_its_way_holds_when_the_tab_is_loaded_anew(opened: Page, client: Client) -> None:
    opened.route("**/verdicts", lambda route: None)
    press(opened, "1")
    opened.keyboard.press("z")
    opened.unroute("**/verdicts")
    with opened.expect_response(lambda response: response.request.method == "DELETE"):
        opened.reload()
    wait_until_sent(opened)
    assert verdicts(client) == {}


def test_undo_leaves_the_later_word_of_somebody_else(opened: Page, client: Client) -> None:
    with opened.expect_response("**/verdicts"):
        shown = press(opened, "1")
    client.give_verdicts("default", "kind", {shown: "blue"})
    opened.keyboard.press("z")
    expect(opened.get_by_text(f"has said blue of {shown} meanwhile: that stands")).to_be_visible()
    assert verdicts(client) == {shown: ("blue",)}


def test_ctrl_z_takes_back_the_newest_answer(opened: Page, client: Client) -> None:
    opened.get_by_role("button", name="Select").click()
    column(opened, "green").get_by_role("checkbox").first.click()
    with opened.expect_response("**/verdicts"):
        opened.get_by_role("button", name="Give it").click()
    (selected,) = verdicts(client)
    single = press(opened, "2")
    opened.keyboard.press("Control+z")
    expect(asked(opened)).to_have_text(single)
    wait_until_sent(opened)
    assert set(verdicts(client)) == {selected}


def test_refused_answer_is_set_aside_and_the_others_are_stored(opened: Page, client: Client) -> None:
    see(opened)
    client.put_label_set("default", "kind", ["red", "green"])
    refused = press(opened, "3")
    aside = opened.get_by_role("alert").filter(has_text="1 answer refused, and set aside")
    expect(aside).to_contain_text(f"{refused}: blue (in “kind”)")
    expect(opened.get_by_role("button", name="blue", exact=True)).to_have_count(0)
    stored = press(opened, "1")
    expect(opened.locator("#reviewed")).to_have_text("1")
    aside.get_by_role("button", name="Leave out").click()
    expect(aside).to_have_count(0)
    wait_until_sent(opened)
    assert verdicts(client) == {stored: ("red",)}


def test_label_is_added_to_what_somebody_else_has_made_of_the_set(opened: Page, client: Client) -> None:
    client.put_label_set("default", "kind", [*LABELS, "black"])
    opened.get_by_label("Add a label").fill("yellow")
    opened.keyboard.press("Enter")
    expect(opened.get_by_text("somebody else added black")).to_be_visible()
    assert [one.label for one in report(client).labels] == [*LABELS, "black", "yellow"]
    opened.get_by_role("button", name="Edit labels").click()
    dialog = opened.get_by_role("dialog")
    client.put_label_set("default", "kind", [*LABELS, "white"])
    opened.get_by_label("Labels, one a line").fill("red\ngreen\nRed")
    opened.get_by_role("button", name="Change").click()
    expect(dialog.get_by_role("alert")).to_contain_text("“Red” stands twice, as “red”")
    opened.get_by_label("Labels, one a line").fill("\n".join(LABELS))
    opened.get_by_role("button", name="Change").click()
    expect(dialog.get_by_role("alert")).to_contain_text(
        "They added white, and removed black, yellow. “Change” replaces it"
    )
    opened.get_by_role("button", name="Change").click()
    expect(dialog).to_have_count(0)
    assert [one.label for one in report(client).labels] == LABELS


def test_open_view_follows_a_rollout_while_nobody_answers(new_page: OpenPage, tmp_path: Path) -> None:
    repository = tmp_path / "model_repo"
    write_tiny_bundle(repository)
    with serve(repository, TINY, tmp_path / "data") as server, Client(server.url) as client:
        client.add([noise(i) for i in range(N_NOISES)], ids=[f"noise-{i}" for i in range(N_NOISES)])
        client.put_label_set("default", "kind", LABELS)
        page = new_page().page
        page.goto(f"{server.url}/#/label")
        see(page)
        before = {one.id: one.score for one in client.label_proposals("default", "kind").images}
        write_tiny_bundle(repository, seed=1)
        rollout = client.wait_for_rollout(client.activate(TINY, 2).id)
        assert rollout.state == "active", rollout.reason
        expect(page.locator("#model")).to_contain_text("version 2")
        after = {one.id: one.score for one in client.label_proposals("default", "kind").images}
        shown = asked(page).inner_text()
        assert f"{100 * after[shown]:.0f}" != f"{100 * before[shown]:.0f}"
        expect(page.locator(".confirm .score")).to_have_text(re.compile(rf"^{100 * after[shown]:.0f}\s?%$"))
        for row in report(client).counts:
            expect(column(page, row.label).locator("header .status")).to_have_text(str(row.n))


def test_idle_view_shows_what_others_review_and_change(
    new_page: OpenPage, server: RunningServer, client: Client
) -> None:
    client.put_label_set("default", "kind", LABELS)
    page = new_page().page
    page.clock.install()
    page.goto(f"{server.url}/#/label?set=kind")
    see(page)
    expect(column(page, "red").get_by_role("button", name="red,")).to_be_visible()
    client.give_verdicts("default", "kind", {"red": "red"})
    page.clock.fast_forward(11_000)
    expect(page.locator("#reviewed")).to_have_text("1")
    expect(column(page, "red").get_by_role("button", name="red, reviewed")).to_be_visible()
    client.put_label_set("default", "kind", [*LABELS, "black"])
    page.clock.fast_forward(11_000)
    expect(column(page, "black")).to_be_visible()
    expect(page.locator(".label-choices").get_by_role("button", name="black")).to_be_visible()
    client.drop_label_set("default", "kind")

"""Limits that follow from the settings."""

from diptych.core.limits import Limits
from diptych.settings import Settings
from diptych.wiring.assemble import limits_of
from diptych.wiring.fetching import MAX_FETCHES, max_open_sockets


def test_request_adds_no_more_images_than_the_queue_takes() -> None:
    assert limits_of(Settings()) == Limits()
    assert limits_of(Settings(max_items=20, max_queue_items=20)).max_add_items == 20


def test_sockets_of_fetches_and_look_ups_are_counted_unless_image_urls_are_off() -> None:
    assert max_open_sockets(Settings(image_urls="public")) == MAX_FETCHES + 8 * MAX_FETCHES
    assert max_open_sockets(Settings(image_urls="a.example")) == max_open_sockets(
        Settings(image_urls="public")
    )
    assert max_open_sockets(Settings()) == 0

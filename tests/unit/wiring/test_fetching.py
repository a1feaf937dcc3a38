"""The number of sockets that fetching may have open, by the settings."""

from diptych.settings import Settings
from diptych.wiring.fetching import MAX_FETCHES, max_open_sockets


def test_sockets_of_fetches_and_look_ups_are_counted_unless_image_urls_are_off() -> None:
    assert max_open_sockets(Settings(image_urls="public")) == MAX_FETCHES + 8 * MAX_FETCHES
    assert max_open_sockets(Settings(image_urls="a.example")) == max_open_sockets(
        Settings(image_urls="public")
    )
    assert max_open_sockets(Settings()) == 0

"""What fetching may hold open follows from the settings."""

from diptych.settings import Settings
from diptych.wiring.fetching import max_open_sockets


def test_a_fetch_and_the_look_ups_it_may_leave_behind_count_and_nothing_where_image_urls_are_off() -> None:
    assert max_open_sockets(Settings(image_urls="public", max_image_url_fetches=4)) == 4 + 8 * 4
    assert max_open_sockets(Settings(image_urls="a.example", max_image_url_fetches=1)) == 1 + 8
    assert max_open_sockets(Settings()) == 0

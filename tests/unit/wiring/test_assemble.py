"""The limits of requests that the settings leave."""

from diptych.core.limits import Limits
from diptych.settings import Settings
from diptych.wiring.assemble import limits_of


def test_request_adds_no_more_images_than_the_queue_takes() -> None:
    assert limits_of(Settings()) == Limits()
    assert limits_of(Settings(max_items=20, max_queue_items=20)).max_add_items == 20

"""Every error that is raised on purpose has its own line in the one table of statuses."""

from collections.abc import Iterator

from diptych.errors import DiptychError
from diptych.http.errors.problem_json import STATUS


def family(error: type[DiptychError]) -> Iterator[type[DiptychError]]:
    yield error
    for child in error.__subclasses__():
        yield from family(child)


def test_every_own_error_has_a_status() -> None:
    ours = {error for error in family(DiptychError) if error.__module__ == "diptych.errors"}
    assert ours == set(STATUS)
    assert all(400 <= status < 600 for status in STATUS.values())


def test_no_room_of_the_server_defines_errors_of_its_own() -> None:
    modules = {error.__module__ for error in family(DiptychError)}
    assert {module for module in modules if module.startswith("diptych.")} == {"diptych.errors"}

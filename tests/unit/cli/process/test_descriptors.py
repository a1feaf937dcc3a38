"""The limit of descriptors covers connections and the server's own files, as far as it can be raised."""

import resource

import pytest

from diptych.cli.process.descriptors import OTHER_FILES, max_connections_within


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The limits of a process that starts with 1024. The last one is in force."""
    limits = [(1024, 4096)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, given: limits.append(given))
    return limits


def test_limit_is_raised_for_connections_and_outgoing_sockets_together(limits: list[tuple[int, int]]) -> None:
    assert max_connections_within(1000, 288) == 1000
    assert limits[-1] == (2 * 1000 + 288 + OTHER_FILES, 4096)


def test_connections_are_reduced_if_the_limit_cannot_be_raised(
    limits: list[tuple[int, int]], caplog: pytest.LogCaptureFixture
) -> None:
    assert max_connections_within(4000, 288) == (4096 - 288 - OTHER_FILES) // 2
    assert "may open 4096 files" in caplog.text

"""A shared resource is closed once, by its last owner."""

import pytest

from diptych.core.concurrency.shared import Shared


def test_last_release_closes_the_value_once() -> None:
    closed: list[str] = []
    shared = Shared("value", closed.append)
    shared.retain()
    shared.release()
    assert closed == []
    shared.release()
    assert closed == ["value"]
    with pytest.raises(AssertionError):
        shared.retain()
    with pytest.raises(AssertionError):
        shared.release()


def test_value_stays_open_while_it_is_used_even_if_its_owner_lets_go() -> None:
    closed: list[str] = []
    shared = Shared("value", closed.append)
    with shared.use() as value:
        shared.release()
        assert (value, closed) == ("value", [])
    assert closed == ["value"]


def test_use_ends_with_an_error() -> None:
    closed: list[str] = []
    shared = Shared("value", closed.append)
    with pytest.raises(ZeroDivisionError), shared.use():
        raise ZeroDivisionError
    shared.release()
    assert closed == ["value"]

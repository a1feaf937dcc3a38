"""Which hosts and origins are ours."""

import pytest

from diptych.http.guard import HostGuard, same_origin


async def app(*_: object) -> None:
    raise AssertionError("not called")


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("127.0.0.1:8000", True),
        ("localhost", True),
        ("LOCALHOST:8000", True),
        ("[::1]:8000", True),
        ("192.168.1.7:8000", True),
        ("diptych.example:443", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
        ("[::1", False),
    ],
)
def test_host_is_an_address_or_a_name_we_were_given(host: str, ours: bool) -> None:
    assert HostGuard(app, "127.0.0.1", ("diptych.example",))._is_ours(host) is ours


def test_star_allows_every_host() -> None:
    assert HostGuard(app, "0.0.0.0", ("*",))._is_ours("anything.example")


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:8000", True),
        ("https://a.example", "a.example", True),
        ("https://a.example", "a.example:443", True),
        ("http://a.example", "A.example:80", True),
        ("http://127.0.0.1:9000", "127.0.0.1:8000", False),
        ("http://evil.example", "127.0.0.1:8000", False),
        ("null", "127.0.0.1:8000", False),
        ("http://[", "127.0.0.1:8000", False),
        ("http://127.0.0.1:99999", "127.0.0.1", False),
    ],
)
def test_origin_must_have_our_host_and_port(origin: str, host: str, same: bool) -> None:
    assert same_origin(origin, host) is same

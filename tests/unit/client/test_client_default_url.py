"""Without a URL the client uses the address in the environment variables of the server."""

import pytest

from diptych_client import AsyncClient, Client, InvalidCall


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"PORT": "8123"}, "http://127.0.0.1:8123"),
        ({"PORT": "8123", "HOST": "0.0.0.0"}, "http://127.0.0.1:8123"),
        ({"HOST": "::", "PORT": "8123"}, "http://[::1]:8123"),
        ({"PORT": "tcp://10.0.0.1:8000"}, "http://127.0.0.1:8000"),
        ({"PORT": "", "HOST": ""}, "http://127.0.0.1:8000"),
        ({"URL": "https://images.example.org", "PORT": "8123"}, "https://images.example.org"),
    ],
)
def test_default_url_comes_from_the_variables(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str
) -> None:
    for name in ("URL", "HOST", "PORT"):
        monkeypatch.delenv(f"DIPTYCH_{name}", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(f"DIPTYCH_{name}", value)
    assert Client().url == AsyncClient().url == url


def test_given_url_wins_over_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPTYCH_PORT", "8123")
    assert Client("http://127.0.0.1:9000").url == "http://127.0.0.1:9000"


def test_invalid_port_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIPTYCH_URL", raising=False)
    monkeypatch.setenv("DIPTYCH_PORT", "80a")
    with pytest.raises(InvalidCall, match="80a"):
        Client()

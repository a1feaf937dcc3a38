"""Which hosts one setting allows."""

import pytest

from diptych.core.fetching.host_rules import HostRules, parse_host_rules
from diptych.errors import ConfigError


def rules_of(text: str) -> HostRules:
    rules = parse_host_rules(text)
    assert rules is not None
    return rules


@pytest.mark.parametrize("text", ["off", " OFF "])
def test_off_is_no_rules(text: str) -> None:
    assert parse_host_rules(text) is None


def test_public_allows_every_host_on_the_port_of_https_only() -> None:
    rules = rules_of("public")
    assert rules.allow("images.example", 443)
    assert not rules.allow("images.example", 8443)
    assert not rules.allow("images.example", 80)


@pytest.mark.parametrize(
    ("host", "port", "allowed"),
    [
        ("images.example", 443, True),
        ("images.example", 8443, False),
        ("more.images.example", 443, False),
        ("images.example.evil.test", 443, False),
        ("notimages.example", 443, False),
        ("a.cdn.example", 443, True),
        ("a.b.cdn.example", 443, True),
        ("cdn.example", 443, False),
        ("evilcdn.example", 443, False),
        ("a.cdn.example", 8443, False),
        ("store.example", 8443, True),
        ("store.example", 443, False),
        ("xn--bcher-kva.example", 443, True),
        ("other.example", 443, False),
    ],
)
def test_list_allows_its_hosts_and_ports_alone(host: str, port: int, allowed: bool) -> None:
    rules = rules_of("Images.Example, *.cdn.example,store.example:8443 , xn--bcher-kva.example,")
    assert rules.allow(host, port) is allowed


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "off, images.example",
        "public, images.example",
        "https://images.example",
        "images.example/path",
        "user@images.example",
        "*",
        "*.com",
        "a.*.example",
        "images..example",
        "images.example.",
        "bücher.example",
        "images.example:0",
        "images.example:65536",
        "images.example:",
        "[::1]",
        "images.example other.example",
    ],
)
def test_what_would_never_match_or_match_too_much_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_host_rules(text)

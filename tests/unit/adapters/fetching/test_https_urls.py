"""How URLs and the locations of redirects are parsed, and which are refused."""

import socket
from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.adapters.fetching.https_urls import HttpsUrl, parse_https_url
from diptych.errors import InvalidValue

LOOPBACK = """
127.0.0.1 127.0.0.1. 127.1 127.0.1 2130706433 0x7f000001 0X7F000001 017700000001 0177.0.0.1 0x7f.0.0.1
0x7f.0x0.0x0.0x1 0177.0.0.01 127.0x1 0177.1 0x7f.0.1 00000000177.0.0.1 １２７.０.０.１ 127。0。0。1 ①②⑦.0.0.1
""".split()  # noqa: SIM905


@pytest.mark.parametrize("host", LOOPBACK)
def test_every_spelling_of_an_ipv4_address_is_read_as_that_address(host: str) -> None:
    place = parse_https_url(f"https://{host}/")
    assert (place.host, str(place.address)) == ("127.0.0.1", "127.0.0.1")


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("0", "0.0.0.0"),
        ("0x", "0.0.0.0"),
        ("4294967295", "255.255.255.255"),
        ("1.2.3", "1.2.0.3"),
        ("1.66051", "1.1.2.3"),
        ("[::1]", "::1"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
        ("[::FFFF:127.0.0.1]", "::ffff:7f00:1"),
        ("[2606:4700:4700::1111]", "2606:4700:4700::1111"),
    ],
)
def test_addresses_of_other_kinds_are_normalised(host: str, address: str) -> None:
    place = parse_https_url(f"https://{host}/")
    assert (place.host, str(place.address)) == (address, address)


@pytest.mark.parametrize(
    ("url", "host", "port", "target", "authority"),
    [
        ("https://images.example", "images.example", 443, "/", "images.example"),
        ("HTTPS://Images.Example./A.png", "images.example", 443, "/A.png", "images.example"),
        ("https://images.example:443/a?b=c&d", "images.example", 443, "/a?b=c&d", "images.example"),
        ("https://images.example:8443/", "images.example", 8443, "/", "images.example:8443"),
        ("https://images.example:/", "images.example", 443, "/", "images.example"),
        ("https://images.example?q#part", "images.example", 443, "/?q", "images.example"),
        ("https://images.example#@evil.test/", "images.example", 443, "/", "images.example"),
        ("https://images.example/a@b:c//d", "images.example", 443, "/a@b:c//d", "images.example"),
        (
            "https://images.example/%2e%2e/ü?ß",
            "images.example",
            443,
            "/%2e%2e/%C3%BC?%C3%9F",
            "images.example",
        ),
        ("https://bücher.example/", "xn--bcher-kva.example", 443, "/", "xn--bcher-kva.example"),
        ("https://faß.example/", "xn--fa-hia.example", 443, "/", "xn--fa-hia.example"),
        ("https://BÜCHER。example/", "xn--bcher-kva.example", 443, "/", "xn--bcher-kva.example"),
        ("https://ⓔxample.test/", "example.test", 443, "/", "example.test"),
        ("https://my_bucket.store.example/", "my_bucket.store.example", 443, "/", "my_bucket.store.example"),
        ("https://[2606:4700::1]:8443/", "2606:4700::1", 8443, "/", "[2606:4700::1]:8443"),
        ("https://1.example/", "1.example", 443, "/", "1.example"),
        ("https://0x7f.example/", "0x7f.example", 443, "/", "0x7f.example"),
    ],
)
def test_url_is_split_into_host_port_and_target(
    url: str, host: str, port: int, target: str, authority: str
) -> None:
    place = parse_https_url(url)
    assert (place.host, place.port, place.target, place.authority) == (host, port, target, authority)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "images.example/a.png",
        "//images.example/a.png",
        "http://images.example/a.png",
        "https:/images.example/",
        "https:images.example/",
        "ftp://images.example/",
        "file:///etc/passwd",
        "https://",
        "https:///etc/passwd",
        "https://?q",
        "https://user@images.example/",
        "https://user:password@images.example/",
        "https://images.example@127.0.0.1/",
        "https://images.example:443@127.0.0.1/",
        "https://@images.example/",
        "https://images.example\\@127.0.0.1/",
        "https://images.example\\.evil.test/",
        " https://images.example/",
        "https://images.example/ ",
        "https://images.example/a b",
        "https://images.example/a\nb",
        "https://images.example/a\r\nHost: evil.test",
        "https://images.example/\x00",
        "https://images.exa\tmple/",
        "https://images.example\u200b/",
        "https://images%2eexample/",
        "https://%31%32%37.0.0.1/",
        "https://images..example/",
        "https://.images.example/",
        "https://images.example../",
        "https://127.0.0.1../",
        "https://-/\ud800",
        "https://images.example/\ud800",
        "https://a" + "b" * 63 + ".example/",
        "https://" + "a." * 130 + "example/",
        "https://" + "ü" * 300 + ".example/",
        "https://images.example:0/",
        "https://images.example:65536/",
        "https://images.example:123456/",
        "https://images.example:+443/",
        "https://images.example:４４３/",
        "https://images.example:443:443/",
        "https://256.0.0.1/",
        "https://1.2.3.4.5/",
        "https://1.2.3.256/",
        "https://1.2.65536/",
        "https://4294967296/",
        "https://0x100000000/",
        "https://127.0.0.08/",
        "https://images.example.1/",
        "https://127..1/",
        "https://0x7g.1/",
        "https://00000000000000000177.0.0.1/",
        "https://[::1/",
        "https://::1/",
        "https://[::1%25lo]/",
        "https://[fe80::1%lo]/",
        "https://[v1.fe80::1]/",
        "https://[127.0.0.1]/",
        "https://[]/",
        "https://[::1]evil.test/",
        "https://images.example/" + "a" * 8_192,
    ],
)
def test_ambiguous_or_unreadable_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidValue, match=r"^image URL "):
        parse_https_url(url)


def test_refusal_does_not_repeat_the_url() -> None:
    for url in (
        "http://s3cret.example/",
        "https://s3cret@a.example/",
        "https://s3cret..example/",
        "https://[s3cret]/",
    ):
        with pytest.raises(InvalidValue) as caught:
            parse_https_url(url)
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("location", "host", "target"),
    [
        ("/b.png", "images.example", "/b.png"),
        ("b.png?x", "images.example", "/a/b.png?x"),
        ("../b.png", "images.example", "/b.png"),
        ("?x=1", "images.example", "/a/a.png?x=1"),
        ("", "images.example", "/a/a.png"),
        ("#part", "images.example", "/a/a.png"),
        ("//other.example/b.png", "other.example", "/b.png"),
        ("https://other.example/b.png#part", "other.example", "/b.png"),
        ("//0x7f.1/", "127.0.0.1", "/"),
    ],
)
def test_location_of_a_redirect_is_resolved_against_its_url(location: str, host: str, target: str) -> None:
    place = parse_https_url("https://images.example/a/a.png").joined(location)
    assert (place.host, place.target) == (host, target)


@pytest.mark.parametrize(
    "location",
    [
        "http://images.example/",
        "ftp://x/",
        "javascript:alert(1)",
        "//user@other.example/",
        "\\\\evil.test",
        "/a b",
        "https://[x",
        "//[::1",
    ],
)
def test_location_that_is_not_an_https_url_is_refused(location: str) -> None:
    with pytest.raises(InvalidValue):
        parse_https_url("https://images.example/a/a.png").joined(location)


def test_address_is_compared_in_its_normal_form() -> None:
    assert parse_https_url("https://0x01010101/") == HttpsUrl("1.1.1.1", 443, "/")


@given(st.text("0123456789abcdefxX.", min_size=1, max_size=24))
def test_no_accepted_name_is_read_as_an_address_by_the_system(host: str) -> None:
    try:
        place = parse_https_url(f"https://{host}/")
    except InvalidValue:
        return
    try:
        packed = socket.inet_aton(place.host)
    except OSError:
        assert place.address is None
        return
    assert place.address == ip_address(packed)


@given(
    st.ip_addresses(v=4),
    st.lists(st.sampled_from(["d", "#o", "#x"]), min_size=4, max_size=4),
    st.integers(1, 4),
)
def test_address_in_any_mix_of_bases_and_parts_is_parsed(
    address: IPv4Address, forms: list[str], n_parts: int
) -> None:
    packed = address.packed
    numbers = [*packed[: n_parts - 1], int.from_bytes(packed[n_parts - 1 :], "big")]
    host = ".".join(_spelled(number, form) for number, form in zip(numbers, forms, strict=False))
    assert parse_https_url(f"https://{host}/").address == address


def _spelled(number: int, form: str) -> str:
    return f"0{number:o}" if form == "#o" else format(number, form)

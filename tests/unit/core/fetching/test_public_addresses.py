"""Which addresses belong to the public internet: every special range, its edges, and IPv4 inside of IPv6."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.core.fetching.public_addresses import why_not_public

PUBLIC = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 93.184.215.14 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0
168.63.129.15 168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0
192.0.3.0 192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 198.51.99.255
198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255
2001:200:: 2001:4860:4860::8888 2001:db7:ffff:ffff:ffff:ffff:ffff:ffff 2001:db9:: 2003:: 2400:cb00::1
2606:4700:4700::1111 2a00:1450:4001:80f::200e 3ffe:ffff::1
::ffff:8.8.8.8 64:ff9b::8.8.8.8 2606:4700::5efe:8.8.8.8
""".split()  # noqa: SIM905

GIVEN_OUT = (IPv6Network("2000::/3"), IPv6Network("64:ff9b::/96"))

NOT_PUBLIC = {
    "unspecified": "0.0.0.0 ::",
    "this network": "0.0.0.1 0.255.255.255",
    "private": "10.0.0.0 10.255.255.255 172.16.0.0 172.31.255.255 192.168.0.0 192.168.255.255",
    "shared by a carrier": "100.64.0.0 100.127.255.255",
    "loopback": "127.0.0.0 127.0.0.1 127.255.255.255 ::1",
    "link-local": "169.254.0.0 169.254.169.253 169.254.255.255 fe80:: fe80::1 febf:ffff::1",
    "a metadata service": (
        "169.254.169.254 168.63.129.16 100.100.100.200 192.0.0.192 fd00:ec2::254 fd20:ce::254"
    ),
    "kept for protocols": "192.0.0.0 192.0.0.170 192.0.0.255 2001:1::1 2001:20::1 2001:1ff:ffff::",
    "documentation": (
        "192.0.2.0 192.0.2.255 198.51.100.7 203.0.113.255 2001:db8:: 2001:db8:ffff:ffff::1 3fff:: 3fff:fff::1"
    ),
    "a 6to4 relay": "192.88.99.0 192.88.99.255",
    "benchmarking": "198.18.0.0 198.19.255.255",
    "multicast": "224.0.0.0 239.255.255.255 ff00:: ff02::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "reserved": "240.0.0.0 255.255.255.254",
    "broadcast": "255.255.255.255",
    "IPv4-compatible": "::2 ::127.0.0.1 ::8.8.8.8 ::255.255.255.255",
    "a local NAT64": "64:ff9b:1:: 64:ff9b:1::8.8.8.8 64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
    "discarded": "100:: 100::ffff:ffff:ffff:ffff",
    "Teredo": "2001:: 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:0:ffff::",
    "6to4": "2002:: 2002:7f00:1:: 2002:a00:1::1 2002:808:808::1 2002:ffff::",
    "unique local": "fc00:: fd12:3456:789a::1 fdff:ffff::",
    "site-local": "fec0:: feff:ffff::1",
    "not global unicast": (
        "0:0:1:: 64:ff9b:0:0:0:1:: 64:ff9b:2:: ::ffff:0:8.8.8.8 1fff:ffff:: 4000:: 5f00::1 fbff:ffff:: fe00::"
    ),
    "of one interface": "fe80::1%eth0 2606:4700::1%1",
    "loopback, inside of IPv6": (
        "::ffff:127.0.0.1 ::ffff:7f00:1 64:ff9b::127.0.0.1 2606:4700::5efe:127.0.0.1 "
        "2606:4700::200:5efe:7f00:1"
    ),
    "private, inside of IPv6": "::ffff:10.0.0.1 ::ffff:192.168.1.1 64:ff9b::172.16.0.1 64:ff9b::a00:1",
    "a metadata service, inside of IPv6": "::ffff:169.254.169.254 64:ff9b::a9fe:a9fe 64:ff9b::168.63.129.16",
    "link-local, inside of IPv6": "::ffff:169.254.1.1",
    "unspecified, inside of IPv6": "::ffff:0.0.0.0 64:ff9b::",
    "shared by a carrier, inside of IPv6": "::ffff:100.64.0.1 64:ff9b::100.127.0.1",
    "multicast, inside of IPv6": "::ffff:224.0.0.1",
    "reserved, inside of IPv6": "::ffff:240.0.0.1",
    "broadcast, inside of IPv6": "::ffff:255.255.255.255 64:ff9b::ffff:ffff",
}


@pytest.mark.parametrize("address", PUBLIC)
def test_public_address_is_public(address: str) -> None:
    assert why_not_public(ip_address(address)) is None


@pytest.mark.parametrize(
    ("address", "kind"),
    [(address, kind) for kind, listed in NOT_PUBLIC.items() for address in listed.split()],
)
def test_special_address_is_named_by_its_kind(address: str, kind: str) -> None:
    assert why_not_public(ip_address(address)) == kind


@given(st.ip_addresses(v=4))
def test_nothing_that_python_itself_takes_for_special_is_public(address: IPv4Address) -> None:
    if why_not_public(address) is None:
        assert address.is_global
        assert not (address.is_private or address.is_loopback or address.is_link_local)
        assert not (address.is_multicast or address.is_reserved or address.is_unspecified)


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:0:0", "64:ff9b::", "2606:4700::5efe:0:0"]))
def test_ipv4_inside_of_ipv6_is_as_public_as_by_itself(inside: IPv4Address, around: str) -> None:
    address = IPv6Address(int(IPv6Address(around)) | int(inside))
    assert (why_not_public(address) is None) == (why_not_public(inside) is None)


@given(st.ip_addresses(v=4), st.sampled_from(["::", "64:ff9b:1::", "2001::", "::ffff:0:0:0"]))
def test_other_forms_are_refused_whatever_is_inside(inside: IPv4Address, around: str) -> None:
    assert why_not_public(IPv6Address(int(IPv6Address(around)) | int(inside))) is not None


@given(st.ip_addresses(v=4), st.integers(0, 2**80 - 1))
def test_6to4_is_refused_whatever_is_inside(inside: IPv4Address, rest: int) -> None:
    assert why_not_public(IPv6Address(0x2002 << 112 | int(inside) << 80 | rest)) is not None


@given(st.ip_addresses(v=6))
def test_no_address_outside_of_what_was_given_out_is_public(address: IPv6Address) -> None:
    if why_not_public(address) is None and address.ipv4_mapped is None:
        assert any(address in network for network in GIVEN_OUT)

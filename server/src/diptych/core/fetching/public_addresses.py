"""Decide whether an IP address belongs to the public internet.

Python's own `is_global` is used as well, but does not suffice: in some releases it takes 64:ff9b:1::/48,
2002::/16 and 3fff::/20 for global, and it cannot know a cloud's metadata service at an ordinary address.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

IPAddress = IPv4Address | IPv6Address

# The special-purpose registries of IANA, RFC 6890 and its successors. The first network that contains an
# address names it.
_SPECIAL_4 = tuple(
    (IPv4Network(network), kind)
    for network, kind in (
        ("168.63.129.16/32", "a metadata service"),  # Azure's, from a range that is otherwise ordinary
        ("100.100.100.200/32", "a metadata service"),  # Alibaba's
        ("169.254.169.254/32", "a metadata service"),  # everybody else's
        ("192.0.0.192/32", "a metadata service"),  # Oracle's older one
        ("0.0.0.0/32", "unspecified"),
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by a carrier"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "kept for protocols"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("255.255.255.255/32", "broadcast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_SPECIAL_6 = tuple(
    (IPv6Network(network), kind)
    for network, kind in (
        ("fd00:ec2::254/128", "a metadata service"),
        ("fd20:ce::254/128", "a metadata service"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::/96", "IPv4-compatible"),
        ("64:ff9b:1::/48", "a local NAT64"),
        ("100::/64", "discarded"),
        ("2001::/32", "Teredo"),
        ("2001::/23", "kept for protocols"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "documentation"),
        ("fc00::/7", "unique local"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")  # all that was ever allocated
_NAT64 = IPv6Network("64:ff9b::/96")  # how a network without IPv4 names every IPv4 address
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})  # third quarter of an address whose last one is IPv4


def why_not_public(address: IPAddress) -> str | None:
    """The kind of a special address, such as "loopback"; None when it is public.

    IPv4 inside IPv6 is judged as IPv4 where the IPv4 host is reached (mapped, NAT64, ISATAP). Forms that are
    obsolete (compatible, 6to4, Teredo), or that lead into a local network (a local NAT64), are refused
    whatever they contain.
    """
    if isinstance(address, IPv4Address):
        return _kind(address, _SPECIAL_4)
    if address.scope_id is not None:
        return "of one interface"
    if address.ipv4_mapped is not None or address in _NAT64:
        return _kind_inside(address)
    kind = _kind(address, _SPECIAL_6) or (None if address in _GLOBAL_UNICAST else "not global unicast")
    if kind is None and int(address) >> 32 & 0xFFFF_FFFF in _ISATAP:
        return _kind_inside(address)
    return kind


def _kind_inside(address: IPv6Address) -> str | None:
    kind = _kind(IPv4Address(int(address) & 0xFFFF_FFFF), _SPECIAL_4)
    return kind and f"{kind}, inside of IPv6"


def _kind(address: IPAddress, special: Iterable[tuple[IPv4Network | IPv6Network, str]]) -> str | None:
    named = next((kind for network, kind in special if address in network), None)
    return named or (None if address.is_global else "not global")

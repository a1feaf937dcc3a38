"""Parses https URLs strictly.

Checks and connections use the same parse of a URL, so that no second parser can read another host. `idna`
converts names in other scripts to the ASCII of the DNS, as browsers do (UTS 46, not transitional).
"""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import quote, urljoin

import idna

from diptych.core.fetching.host_rules import HTTPS_PORT
from diptych.core.fetching.public_addresses import IPAddress
from diptych.errors import InvalidValue

MAX_URL_CHARS = 8_192
MAX_HOST_CHARS = 253
_URL = re.compile(r"https://(?P<authority>[^/?#]*)(?P<target>[^#]*)(?:#.*)?", re.IGNORECASE | re.DOTALL)
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]*\]|[^:\[\]%]*)(?::(?P<port>[0-9]{0,5}))?")
_NAME = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")
_NUMBER = re.compile(r"(?P<hex>0x[0-9a-f]*)|(?P<octal>0[0-7]*)|(?P<decimal>[1-9][0-9]*)")
_ENDS_IN_A_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")


@dataclass(frozen=True)
class HttpsUrl:
    """A parsed URL: `host` is a lower-case ASCII name or a normal address, `target` the path and query."""

    host: str
    port: int
    target: str

    @property
    def address(self) -> IPAddress | None:
        """The host as an address; None if it is a name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    @property
    def authority(self) -> str:
        """Host and port in the form of a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == HTTPS_PORT else f"{host}:{self.port}"

    def joined(self, location: str) -> "HttpsUrl":
        """Resolve a `Location` header against this URL. Raises InvalidValue, as for any URL."""
        try:
            absolute = urljoin(f"https://{self.authority}{self.target}", _checked(location))
        except ValueError:
            raise InvalidValue("image URL has no host and port that can be read") from None
        return parse_https_url(absolute)


def parse_https_url(text: str) -> HttpsUrl:
    """Parse a URL. Raises InvalidValue, whose message contains no part of the URL."""
    match = _URL.fullmatch(_checked(text))
    if match is None:
        raise InvalidValue("image URL must begin with https://")
    authority = match["authority"]
    if "@" in authority:
        raise InvalidValue("image URL must not have a user name or password")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise InvalidValue("image URL has no host and port that can be read")
    port = int(parts["port"] or HTTPS_PORT)
    if not 1 <= port <= 65535:
        raise InvalidValue("image URL has a port that is not between 1 and 65535")
    return HttpsUrl(_host(parts["host"]), port, _target(match["target"]))


def _checked(text: str) -> str:
    """Return the text itself. Raises InvalidValue for characters that parsers treat differently."""
    if len(text) > MAX_URL_CHARS:
        raise InvalidValue(f"image URL has {len(text)} characters, limit is {MAX_URL_CHARS}")
    if "\\" in text or " " in text or not text.isprintable():
        raise InvalidValue("image URL has a space, a backslash or a character that cannot be printed")
    return text


def _target(text: str) -> str:
    """The path and query, with non-ASCII characters as percent-encoded UTF-8."""
    target = text if text.startswith("/") else f"/{text}"
    try:
        return "".join(char if char.isascii() else quote(char) for char in target)
    except UnicodeEncodeError:
        raise InvalidValue("image URL has a lone surrogate, which is not a character") from None


def _host(text: str) -> str:
    if text.startswith("["):
        return _ipv6(text[1:-1])
    name = _ascii(text).lower().removesuffix(".")
    if _ENDS_IN_A_NUMBER.fullmatch(name):  # no top-level domain ends so: it is an address
        return _ipv4(name)
    if len(name) > MAX_HOST_CHARS or not _NAME.fullmatch(name):
        raise InvalidValue("image URL has no valid host name")
    return name


def _ascii(name: str) -> str:
    if name.isascii():
        return name
    try:
        if len(name) > MAX_HOST_CHARS:
            raise InvalidValue("image URL has no valid host name")
        return idna.encode(name, uts46=True).decode("ascii")
    except UnicodeError:  # the base of idna's errors
        raise InvalidValue("image URL has no valid international host name") from None


def _ipv6(text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        raise InvalidValue("image URL has an IPv6 address that cannot be read") from None


def _ipv4(text: str) -> str:
    """Parse one to four decimal, octal or hexadecimal numbers; the last one fills the rest of the 32 bits."""
    numbers = [_number(part) for part in text.split(".")]
    *leading, last = numbers
    if len(numbers) > 4 or any(number > 255 for number in leading) or last >= 256 ** (4 - len(leading)):
        raise InvalidValue("image URL has an IPv4 address that is out of range")
    value = last + sum(number << 8 * (3 - i) for i, number in enumerate(leading))
    return str(ipaddress.IPv4Address(value))


def _number(text: str) -> int:
    match = _NUMBER.fullmatch(text)
    if match is None or len(text) > 16:
        raise InvalidValue("image URL has an IPv4 address that cannot be read")
    base = {"hex": 16, "octal": 8, "decimal": 10}[str(match.lastgroup)]
    return int(text.removeprefix("0x") or "0", base)

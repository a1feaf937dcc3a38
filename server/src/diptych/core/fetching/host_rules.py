"""The setting that lists the hosts which images may be fetched from.

Its value is `off`, `public` (any host, on port 443), or a list such as
`images.example, *.cdn.example, store.example:8443`.
"""

import re
from dataclasses import dataclass

from diptych.errors import ConfigError

OFF, PUBLIC = "off", "public"
HTTPS_PORT = 443
_ENTRY = re.compile(r"(?P<below>\*\.)?(?P<name>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)(?::(?P<port>\d{1,5}))?")


@dataclass(frozen=True)
class HostRule:
    """One host; with `below`, every host whose name ends in `.name`, but not `name` itself."""

    name: str
    port: int = HTTPS_PORT
    below: bool = False

    def allows(self, host: str, port: int) -> bool:
        """Whether this host, in lower case, may be asked on this port."""
        same = host.endswith(f".{self.name}") if self.below else host == self.name
        return same and port == self.port


@dataclass(frozen=True)
class HostRules:
    """The hosts of a list; without a list every host, on port 443."""

    listed: tuple[HostRule, ...] | None = None

    def allow(self, host: str, port: int) -> bool:
        """Whether this host, in lower case, may be asked on this port. Does not judge its addresses."""
        if self.listed is None:
            return port == HTTPS_PORT
        return any(rule.allows(host, port) for rule in self.listed)


def parse_host_rules(text: str) -> HostRules | None:
    """Parse the setting; None for `off`. Raises ConfigError for an entry that would never match."""
    entries = [entry.strip().lower() for entry in text.split(",") if entry.strip()]
    if entries == [OFF]:
        return None
    if entries == [PUBLIC]:
        return HostRules()
    if not entries or OFF in entries or PUBLIC in entries:
        raise ConfigError(f"must be {OFF}, {PUBLIC}, or host names separated by commas")
    return HostRules(tuple(map(_parse_entry, entries)))


def _parse_entry(entry: str) -> HostRule:
    match = _ENTRY.fullmatch(entry)
    if match is None:
        raise ConfigError(
            f"{entry[:100]!r} is no host name, such as images.example, *.images.example or "
            "images.example:8443 (letters of other scripts as xn--...)"
        )
    if match["below"] and "." not in match["name"]:
        raise ConfigError(f"{entry!r} would allow a whole top-level domain: say {PUBLIC} if that is meant")
    port = int(match["port"] or HTTPS_PORT)
    if not 1 <= port <= 65535:
        raise ConfigError(f"{entry!r} has no port between 1 and 65535")
    return HostRule(match["name"], port, below=match["below"] is not None)

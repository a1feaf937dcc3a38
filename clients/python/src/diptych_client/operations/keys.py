"""Calls about the API keys of the server. They need a key with scope "admin"."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from diptych_client.binding import Call
from diptych_client.errors import InvalidCall
from diptych_client.results.server import ApiKey, CreatedKey, KeyScope
from diptych_client.steps import Request, Steps, exchange, path_of, result_of


def keys() -> Steps[list[ApiKey]]:
    """List the API keys of the server, oldest first, without their tokens.

    >>> created = client.create_key("shop")
    >>> [(key.name, key.scopes) for key in client.keys()]
    [('shop', ('read',))]
    """
    return result_of(Request("GET", "/keys"), list[ApiKey], "keys")


def create_key(
    name: str,
    scope: KeyScope = "read",
    *,
    collections: Sequence[str] | None = None,
    expires_at: datetime | None = None,
) -> Steps[CreatedKey]:
    """Make an API key. `key` of the result is what callers send; it cannot be shown again.

    "write" includes "read", "admin" includes both. With `collections` the key sees only these. `expires_at`
    is a datetime with a time zone, such as `datetime(2030, 1, 1, tzinfo=UTC)`. Raises InvalidCall for
    others, Forbidden without an admin key, and InvalidValue.

    >>> created = client.create_key("shop", "write", collections=["pets"])
    >>> created.key.startswith(f"dpt_{created.prefix}_")
    True
    """
    body = {
        "name": name,
        "scopes": [scope],
        "collections": None if collections is None else list(collections),
        "expires_at": None if expires_at is None else _with_time_zone(expires_at),
    }
    return result_of(Request("POST", "/keys", json=body, repeatable=False), CreatedKey)


def revoke_key(prefix: str) -> Steps[None]:
    """Revoke the API key with this prefix: no later call is accepted with it. Raises NotFound.

    >>> client.revoke_key(client.create_key("shop").prefix)
    """
    yield from exchange(Request("DELETE", path_of("keys", prefix), idempotent=False))


def _with_time_zone(moment: datetime) -> str:
    """The moment as ISO 8601. One without a time zone could be meant as local time or as UTC."""
    if not isinstance(moment, datetime):
        raise InvalidCall(f"expires_at must be a datetime with a time zone, not {moment!r:.100}")
    if moment.utcoffset() is None:
        raise InvalidCall(
            f"expires_at {moment.isoformat()} has no time zone: "
            "give it with tzinfo=UTC, or as local time with .astimezone()"
        )
    return moment.isoformat()


class KeysCalls:
    """The calls of this module, as methods of both clients."""

    keys = Call(keys)
    create_key = Call(create_key)
    revoke_key = Call(revoke_key)

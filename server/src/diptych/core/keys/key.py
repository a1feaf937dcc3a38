"""One API key: its token, its scopes, its collections and its expiry.

A token is `dpt_<prefix>_<secret>`. The prefix is public and finds the key; of the whole token only the
sha256 is kept. The secret has 256 random bits, so a plain hash of it cannot be guessed.
"""

import hashlib
import re
import secrets
import string
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, get_args

from diptych.core.collections.stored.ids import check_collection_name, collection_not_found
from diptych.errors import Forbidden, InvalidValue

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)  # each includes those before it
MAX_NAME_CHARS = 100
MAX_COLLECTIONS = 1_000
SECRET_BYTES = 32
_PREFIX_CHARS = string.ascii_lowercase + string.digits
_N_PREFIX_CHARS = 8
PREFIX = re.compile(rf"[a-z0-9]{{{_N_PREFIX_CHARS}}}")
_TOKEN = re.compile(rf"dpt_({PREFIX.pattern})_[A-Za-z0-9_-]{{43}}")
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Key:
    """A key without its token. `collections`: the only ones that it sees; None if it sees all.

    Raises InvalidValue that names the field, so that no key exists that means nothing.
    """

    prefix: str
    name: str
    sha256: str = field(repr=False)  # of the token
    scopes: tuple[Scope, ...]
    created_at: datetime
    collections: frozenset[str] | None = None
    expires_at: datetime | None = None

    def __post_init__(self) -> None:
        _require(bool(PREFIX.fullmatch(self.prefix)), "prefix", "must be 8 of the characters a-z 0-9")
        _require(bool(_SHA256.fullmatch(self.sha256)), "sha256", "must be 64 hexadecimal digits")
        _check_name(self.name)
        _check_scopes(self.scopes)
        _check_collections(self.collections, self.scopes)
        times = [time for time in (self.created_at, self.expires_at) if time is not None]
        _require(all(time.tzinfo for time in times), "expires_at", "needs a time zone, such as Z for UTC")

    def has_expired(self, now: datetime) -> bool:
        """Whether the key is no longer accepted."""
        return self.expires_at is not None and now >= self.expires_at

    def has(self, scope: Scope) -> bool:
        """Whether the key may make calls that need the scope."""
        return max(map(SCOPES.index, self.scopes)) >= SCOPES.index(scope)

    def sees(self, collection: str) -> bool:
        """Whether the key may know of a collection."""
        return self.collections is None or collection in self.collections

    def require(self, scope: Scope) -> None:
        """Raise Forbidden unless the key has the scope."""
        if not self.has(scope):
            raise Forbidden(
                f"this call needs a key with scope {scope!r}, key {self.name!r} has {', '.join(self.scopes)}"
            )

    def require_all_collections(self) -> None:
        """Raise Forbidden for a key that is limited to some collections."""
        if self.collections is not None:
            raise Forbidden(
                f"this call concerns all collections, key {self.name!r} is limited to some of them"
            )

    def require_seen(self, collection: str) -> None:
        """Raise NotFound, as for a collection that does not exist, unless the key sees the collection."""
        if not self.sees(collection):
            raise collection_not_found(collection)

    def require_may_name(self, collection: str) -> None:
        """Raise Forbidden unless the key may give a collection this name."""
        if not self.sees(collection):
            raise Forbidden(
                f"key {self.name!r} is limited to some collections, and {collection[:80]!r} is none of them"
            )


def new_key(
    name: str,
    scopes: Collection[Scope],
    *,
    collections: Collection[str] | None = None,
    expires_at: datetime | None = None,
) -> tuple[Key, str]:
    """Make a key and its token, which is kept nowhere. Raises InvalidValue that names the field."""
    now = datetime.now(UTC)
    prefix = "".join(secrets.choice(_PREFIX_CHARS) for _ in range(_N_PREFIX_CHARS))
    token = f"dpt_{prefix}_{secrets.token_urlsafe(SECRET_BYTES)}"
    key = Key(
        prefix=prefix,
        name=name,
        sha256=sha256_of_token(token),
        scopes=tuple(scope for scope in dict.fromkeys(scopes)),
        created_at=now.replace(microsecond=0),
        collections=None if collections is None else frozenset(collections),
        expires_at=expires_at,
    )
    _require(not key.has_expired(now), "expires_at", "is in the past")
    return key, token


def prefix_of(token: str) -> str | None:
    """The prefix of a well-formed token."""
    match = _TOKEN.fullmatch(token)
    return None if match is None else match[1]


def sha256_of_token(token: str) -> str:
    """The 64 hex digits that are kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def _check_name(name: str) -> None:
    is_good = 1 <= len(name) <= MAX_NAME_CHARS and name.isprintable() and name == name.strip()
    message = f"must be 1 to {MAX_NAME_CHARS} printable characters without a space at either end"
    _require(is_good, "name", message)


def _check_scopes(scopes: Collection[str]) -> None:
    is_good = bool(scopes) and set(scopes) <= set(SCOPES)
    _require(is_good, "scopes", f"must be one or more of {', '.join(SCOPES)}")


def _check_collections(collections: Collection[str] | None, scopes: Collection[str]) -> None:
    if collections is None:
        return
    message = f"must be 1 to {MAX_COLLECTIONS:,} names, or be left out for all collections"
    _require(1 <= len(collections) <= MAX_COLLECTIONS, "collections", message)
    for collection in collections:
        try:
            check_collection_name(collection)
        except InvalidValue as error:
            raise error.named("collections") from None
    message = "cannot limit a key with scope 'admin', whose calls concern all collections"
    _require("admin" not in scopes, "collections", message)


def _require(is_good: bool, field: str, message: str) -> None:
    if not is_good:
        raise InvalidValue(message, field)


# The caller of a server that needs no key.
ANYONE = Key("anyone00", "anyone", "0" * 64, ("admin",), datetime.fromtimestamp(0, UTC))

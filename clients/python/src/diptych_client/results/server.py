"""The server, API keys, and what a key may do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from diptych_client.results.common import ModelRef

KeyScope: TypeAlias = Literal["read", "write", "admin"]
"""What a key may do; each scope includes the ones before it."""


@dataclass(frozen=True)
class ApiKey:
    """An API key without its token. `collections`: the only ones that it sees; None if it sees all.

    Times are ISO 8601. `prefix` is the public part of the token.
    """

    prefix: str
    name: str
    scopes: tuple[KeyScope, ...]
    collections: tuple[str, ...] | None
    created_at: str
    expires_at: str | None
    last_used_at: str | None


@dataclass(frozen=True)
class CreatedKey(ApiKey):
    """A new API key. `key` is its token, which the server does not keep."""

    key: str = field(repr=False)


@dataclass(frozen=True)
class Caller:
    """What the key of this client may do. `key` is its name; None where no key is needed.

    `scopes`: all that it has. `collections`: the only ones that it sees; None if it sees all.
    """

    key: str | None
    scopes: tuple[KeyScope, ...]
    collections: tuple[str, ...] | None


@dataclass(frozen=True)
class ServerVersion:
    """The server and its model. `model`, `provider` and `embed_dim` are None while the model is loading.

    A server that is `read_only` refuses every change with 403. `max_image_bytes` limits one image file.
    It and `caller` are None from an older server.
    """

    version: str
    model: ModelRef | None
    provider: str | None
    embed_dim: int | None
    default_collection: str
    read_only: bool = False
    max_image_bytes: int | None = None
    caller: Caller | None = None


@dataclass(frozen=True)
class Readiness:
    """Whether the server is ready for requests, and if not, why."""

    ready: bool
    reason: str

"""The keys that a running server accepts: found by their tokens, and read again when their store changes."""

import asyncio
import builtins
import hmac
import logging
import threading
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

from diptych.core.keys.key import ANYONE, Key, Scope, new_key, prefix_of, sha256_of_token
from diptych.errors import DiptychError, Forbidden

log = logging.getLogger(__name__)
audit_log = logging.getLogger("diptych.audit")

POLL_S = 1.0  # between two looks whether the store has changed
SAVE_EVERY = 60  # looks, after which last uses are saved
SETTING = "DIPTYCH_API_KEY"  # the name of the key that is a setting


class KeyStore(Protocol):
    """Stores API keys. Its methods block. Several threads and processes may use one store."""

    def fingerprint(self) -> object:
        """A value that differs after each change of the keys. Raises StoreError."""
        ...

    def read(self) -> Sequence[Key] | None:
        """All keys, oldest first; None if there never were any. Raises ConfigError, StoreError."""
        ...

    def add(self, key: Key) -> None:
        """Keep a key. Raises Conflict when there are too many, StoreError."""
        ...

    def remove(self, prefix: str) -> Key:
        """Forget a key. Raises NotFound, StoreError."""
        ...

    def last_uses(self) -> Mapping[str, datetime]:
        """When keys were last used, by prefix, as far as known."""
        ...

    def save_last_uses(self, uses: Mapping[str, datetime]) -> None:
        """Keep the last uses. A failure is logged, not raised."""
        ...


class Keys:
    """The accepted keys: those of a store, and the one that is a setting, which has all rights.

    Once keys exist, or the last of them was revoked, every call needs one until the server stops: a file that
    disappears must not open a server.
    """

    def __init__(self, store: KeyStore | None = None, api_key: str | None = None) -> None:
        """Read the store. Raises ConfigError when it cannot be read."""
        self._store = store
        self._api_key = None if api_key is None else _key_of_setting(api_key)
        self._found: Mapping[str, Key] = {}
        self._uses: dict[str, datetime] = {}
        self._uses_changed = False
        self._are_required = api_key is not None
        self._trouble = ""
        self._fingerprint: object = None
        self._refreshing = threading.Lock()
        if store is not None:
            self._fingerprint = store.fingerprint()
            keys = store.read()
            self._found = {key.prefix: key for key in keys or ()}
            self._are_required = self._are_required or keys is not None
            self._uses.update(store.last_uses())

    @property
    def required(self) -> bool:
        """Whether calls need a key."""
        return self._are_required

    def caller(self, token: str) -> Key | None:
        """The key of a token, or None if the token is of no key, or of one that has expired.

        Takes the same time for a wrong secret as for a wrong prefix.
        """
        if not self._are_required:
            return ANYONE
        digest, now = sha256_of_token(token), datetime.now(UTC)
        found = self._found.get(prefix_of(token) or "", ANYONE)
        is_found = hmac.compare_digest(digest, found.sha256) and found is not ANYONE
        setting = self._api_key or ANYONE
        if hmac.compare_digest(digest, setting.sha256) and setting is not ANYONE:
            return setting
        if not is_found or found.has_expired(now):
            return None
        self._uses[found.prefix] = now.replace(microsecond=0)
        self._uses_changed = True
        return found

    async def list(self) -> builtins.list[tuple[Key, datetime | None]]:
        """The keys of the store, oldest first, each with its last use."""
        if self._store is None:
            return []
        await asyncio.to_thread(self.refresh)
        return [(key, self._uses.get(key.prefix)) for key in self._found.values()]

    async def create(
        self,
        name: str,
        scopes: Collection[Scope],
        *,
        collections: Collection[str] | None = None,
        expires_at: datetime | None = None,
    ) -> tuple[Key, str]:
        """Make a key that is accepted from now on, and its token, which cannot be shown again.

        Raises InvalidValue that names the field, Conflict, StoreError, Forbidden without a store.
        """
        store = self._require_store()
        key, token = new_key(name, scopes, collections=collections, expires_at=expires_at)
        await asyncio.to_thread(store.add, key)
        await asyncio.to_thread(self.refresh)
        return key, token

    async def revoke(self, prefix: str) -> Key:
        """Accept a key no longer. Raises NotFound, StoreError, Forbidden without a store."""
        key = await asyncio.to_thread(self._require_store().remove, prefix)
        await asyncio.to_thread(self.refresh)
        return key

    async def follow(self) -> None:
        """Follow the store, and save last uses, until cancelled."""
        if self._store is None:
            return
        n_looks = 0
        while True:
            await asyncio.sleep(POLL_S)
            await asyncio.to_thread(self.refresh)
            n_looks += 1
            if n_looks % SAVE_EVERY == 0:
                await self.save_uses()

    async def save_uses(self) -> None:
        """Save when keys were last used, if that has changed."""
        if self._store is not None and self._uses_changed:
            self._uses_changed = False
            uses = {prefix: time for prefix, time in self._uses.items() if prefix in self._found}
            await asyncio.to_thread(self._store.save_last_uses, uses)

    def refresh(self) -> None:
        """Read the store again if it has changed. While it cannot be read, the known keys are kept.

        Blocking, from any thread.
        """
        store, trouble = self._require_store(), ""
        with self._refreshing:  # so that no older reading replaces a newer one
            try:
                fingerprint = store.fingerprint()
                if fingerprint != self._fingerprint:
                    self._take(store.read())
                    self._fingerprint = fingerprint
            except DiptychError as error:
                trouble = str(error)
            if trouble and trouble != self._trouble:
                log.error("the API keys cannot be read again, those known before are accepted: %s", trouble)
            self._trouble = trouble

    def _take(self, keys: Sequence[Key] | None) -> None:
        before, found = self._found, {key.prefix: key for key in keys or ()}
        self._found = found  # one assignment: callers are looked up in other threads
        self._are_required = self._are_required or keys is not None
        for prefix in sorted(found.keys() - before.keys()):
            audit_log.info("key %s (%s) is accepted from now on", prefix, found[prefix].name)
        for prefix in sorted(before.keys() - found.keys()):
            audit_log.info("key %s (%s) is refused from now on", prefix, before[prefix].name)

    def _require_store(self) -> KeyStore:
        if self._store is None:
            raise Forbidden("this server has no file of API keys")
        return self._store


def _key_of_setting(token: str) -> Key:
    return Key("setting0", SETTING, sha256_of_token(token), ("admin",), datetime.now(UTC))

"""The keys that a running server accepts, while their store changes and fails."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from unittest.mock import Mock

import pytest

from diptych.core.keys import service
from diptych.core.keys.key import ANYONE, Key, new_key
from diptych.core.keys.service import Keys
from diptych.errors import NotFound, StoreError

TOKEN = "correct horse"


class MemoryStore:
    """A store whose content and failures the test decides."""

    def __init__(self, *keys: Key, exists: bool = True) -> None:
        self.keys: list[Key] | None = list(keys) if exists else None
        self.error: StoreError | None = None
        self.uses: dict[str, datetime] = {}

    def fingerprint(self) -> object:
        if self.error is not None:
            raise self.error
        return None if self.keys is None else tuple(key.prefix for key in self.keys)

    def read(self) -> Sequence[Key] | None:
        return self.keys

    def add(self, key: Key) -> None:
        if self.error is not None:
            raise self.error
        self.keys = [*(self.keys or []), key]

    def remove(self, prefix: str) -> Key:
        found = [key for key in self.keys or [] if key.prefix == prefix]
        if not found:
            raise NotFound(prefix)
        self.keys = [key for key in self.keys or [] if key.prefix != prefix]
        return found[0]

    def last_uses(self) -> Mapping[str, datetime]:
        return self.uses

    def save_last_uses(self, uses: Mapping[str, datetime]) -> None:
        self.uses = dict(uses)


def test_server_without_keys_lets_anyone_in() -> None:
    for keys in (Keys(), Keys(MemoryStore(exists=False))):
        assert not keys.required
        assert keys.caller("") is keys.caller("whatever") is ANYONE


def test_key_is_found_by_its_token_alone() -> None:
    key, token = new_key("ci", ["read"])
    keys = Keys(MemoryStore(key))
    assert keys.required
    assert keys.caller(token) == key
    _, other = new_key("other", ["read"])
    for wrong in ("", token[:-1], token[:13] + other[13:], other, f"{token} ", "é", key.sha256):
        assert keys.caller(wrong) is None, wrong


def test_setting_is_a_key_with_all_rights_beside_others() -> None:
    key, token = new_key("ci", ["read"])
    keys = Keys(MemoryStore(key), TOKEN)
    found = keys.caller(TOKEN)
    assert found is not None
    assert found.has("admin")
    assert keys.caller(token) == key
    assert keys.caller("correct hors") is None


def test_expired_key_is_not_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    key, token = new_key("ci", ["read"], expires_at=expires_at)
    keys = Keys(MemoryStore(key))
    assert keys.caller(token) == key
    monkeypatch.setattr(service, "datetime", Mock(now=lambda zone: expires_at))
    assert keys.caller(token) is None


def test_first_key_closes_a_running_server_and_its_end_does_not_open_it() -> None:
    store = MemoryStore(exists=False)
    keys = Keys(store)
    key, token = new_key("ci", ["read"])
    store.add(key)
    keys.refresh()
    assert keys.caller("") is None
    assert keys.caller(token) == key
    store.keys = None  # the file is gone
    keys.refresh()
    assert keys.required
    assert keys.caller(token) is None
    assert Keys(MemoryStore()).required  # all were revoked before the start


async def test_created_key_is_accepted_at_once_and_revoked_at_once() -> None:
    keys = Keys(MemoryStore())
    key, token = await keys.create("ci", ["read"], collections=["pets"])
    assert keys.caller(token) == key
    ((listed, last_use),) = await keys.list()
    assert listed == key
    assert last_use is not None
    await keys.revoke(key.prefix)
    assert keys.caller(token) is None
    with pytest.raises(NotFound):
        await keys.revoke(key.prefix)


def test_store_that_cannot_be_read_again_keeps_the_known_keys(caplog: pytest.LogCaptureFixture) -> None:
    key, token = new_key("ci", ["read"])
    store = MemoryStore(key)
    keys = Keys(store)
    store.keys, store.error = [], StoreError("the disk is gone")
    for _ in range(3):
        keys.refresh()
    assert keys.caller(token) == key
    assert [record.levelno for record in caplog.records] == [logging.ERROR]  # once
    store.error = None
    keys.refresh()
    assert keys.caller(token) is None


async def test_follower_takes_over_what_others_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diptych.core.keys.service.POLL_S", 0.01)
    store = MemoryStore()
    keys = Keys(store)
    key, token = new_key("ci", ["read"])

    following = asyncio.create_task(keys.follow())
    store.add(key)
    async with asyncio.timeout(5):
        while keys.caller(token) is None:  # noqa: ASYNC110 - the service has no event for it
            await asyncio.sleep(0.01)
    following.cancel()


async def test_last_use_is_known_and_kept() -> None:
    key, token = new_key("ci", ["read"])
    store = MemoryStore(key)
    before = datetime.now(UTC) - timedelta(seconds=1)

    keys = Keys(store)
    assert await keys.list() == [(key, None)]
    keys.caller(token[:-1])
    assert await keys.list() == [(key, None)]
    keys.caller(token)
    await keys.save_uses()
    assert before <= store.uses[key.prefix] <= datetime.now(UTC)
    assert await Keys(store).list() == [(key, store.uses[key.prefix])]


def test_failed_creation_is_raised() -> None:
    store = MemoryStore()
    keys = Keys(store)
    store.error = StoreError("full")
    with pytest.raises(StoreError, match="full"):
        asyncio.run(keys.create("ci", ["read"]))

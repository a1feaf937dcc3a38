"""Calls about API keys."""

from datetime import UTC, datetime

from diptych_client import ApiKey, Client, CreatedKey
from support.fake_api import FakeApi, body, ok

ROW = {
    "prefix": "abcdefgh", "name": "ci", "scopes": ["write"], "collections": ["pets"],
    "created_at": "2026-01-01T00:00:00Z", "expires_at": "2027-01-01T00:00:00Z", "last_used_at": None,
}  # fmt: skip
KEY = ApiKey("abcdefgh", "ci", ("write",), ("pets",), "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z", None)


def test_keys_are_listed() -> None:
    api = FakeApi().on("GET /keys", ok({"keys": [ROW]}))
    assert Client(transport=api.transport()).keys() == [KEY]


def test_key_is_created_with_what_was_given() -> None:
    api = FakeApi().on("POST /keys", ok(ROW | {"key": "dpt_abcdefgh_secret"}))
    created = Client(transport=api.transport()).create_key(
        "ci", "write", collections=["pets"], expires_at=datetime(2027, 1, 1, tzinfo=UTC)
    )
    assert created == CreatedKey(**vars(KEY), key="dpt_abcdefgh_secret")
    assert "secret" not in repr(created)
    (sent,) = api.requests
    assert body(sent) == {
        "name": "ci",
        "scopes": ["write"],
        "collections": ["pets"],
        "expires_at": "2027-01-01T00:00:00+00:00",
    }


def test_key_is_revoked() -> None:
    api = FakeApi().on("DELETE /keys/abcdefgh", ok({}))
    Client(transport=api.transport()).revoke_key("abcdefgh")
    assert len(api.requests) == 1

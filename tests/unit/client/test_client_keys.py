"""Calls about API keys."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from diptych_client import Client, InvalidCall
from support.fake_api import FakeApi, body, ok

ROW = {
    "prefix": "abcdefgh", "name": "ci", "scopes": ["write"], "collections": ["pets"],
    "created_at": "2026-01-01T00:00:00Z", "expires_at": "2027-01-01T00:00:00Z", "last_used_at": None,
}  # fmt: skip


def test_key_is_created_with_what_was_given() -> None:
    api = FakeApi().on("POST /keys", ok(ROW | {"key": "dpt_abcdefgh_secret"}))
    created = Client(transport=api.transport()).create_key(
        "ci", "write", collections=["pets"], expires_at=datetime(2027, 1, 1, tzinfo=UTC)
    )
    assert created.key == "dpt_abcdefgh_secret"
    assert "secret" not in repr(created)
    (sent,) = api.requests
    assert body(sent) == {
        "name": "ci",
        "scopes": ["write"],
        "collections": ["pets"],
        "expires_at": "2027-01-01T00:00:00+00:00",
    }


@pytest.mark.parametrize(
    ("expires_at", "told"),
    [
        ("2030-01-01", r"expires_at must be a datetime with a time zone, not '2030-01-01'"),
        (date(2030, 1, 1), r"expires_at must be a datetime .*, not datetime\.date\(2030, 1, 1\)"),
        (timedelta(days=1), r"expires_at must be a datetime .*, not datetime\.timedelta\(days=1\)"),
        (datetime(2030, 1, 1), r"expires_at 2030-01-01T00:00:00 has no time zone: .*tzinfo=UTC.*astimezone"),
    ],
)
def test_expiry_without_a_time_zone_is_refused_before_anything_is_sent(expires_at: Any, told: str) -> None:
    api = FakeApi()
    with pytest.raises(InvalidCall, match=told):
        Client(transport=api.transport()).create_key("ci", expires_at=expires_at)
    assert api.requests == []


def test_key_is_revoked() -> None:
    api = FakeApi().on("DELETE /keys/abcdefgh", ok({}))
    Client(transport=api.transport()).revoke_key("abcdefgh")
    assert len(api.requests) == 1

"""What a key may do, which keys can exist, and what its token looks like."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from diptych.core.keys.key import ANYONE, SCOPES, Key, new_key, prefix_of, sha256_of_token
from diptych.errors import Forbidden, InvalidValue, NotFound

LATER = datetime.now(UTC) + timedelta(days=1)


def test_token_has_its_prefix_and_256_random_bits() -> None:
    key, token = new_key("ci", ["read"])
    assert re.fullmatch(r"dpt_[a-z0-9]{8}_[A-Za-z0-9_-]{43}", token)
    assert prefix_of(token) == key.prefix == token[4:12]
    assert key.sha256 == sha256_of_token(token)
    assert len({new_key("ci", ["read"])[1] for _ in range(100)}) == 100


def test_key_does_not_contain_its_token() -> None:
    key, token = new_key("ci", ["read"])
    assert token[13:] not in str(vars(key))
    assert key.sha256 not in repr(key)


@pytest.mark.parametrize(
    "token", ["", "dpt_", "dpt_abcdefgh_", "dpt_ABCDEFGH_" + "a" * 43, "dpt_abcdefgh_" + "a" * 44, "é"]
)
def test_text_that_is_no_token_has_no_prefix(token: str) -> None:
    assert prefix_of(token) is None


@pytest.mark.parametrize(("scope", "allowed"), [("read", 1), ("write", 2), ("admin", 3)])
def test_scope_includes_those_before_it(scope: Any, allowed: int) -> None:
    key, _ = new_key("ci", [scope])
    assert [one for one in SCOPES if key.has(one)] == list(SCOPES[:allowed])
    for one in SCOPES[allowed:]:
        with pytest.raises(Forbidden, match=rf"needs a key with scope '{one}', key 'ci' has {scope}"):
            key.require(one)


def test_limited_key_sees_its_collections_only() -> None:
    key, _ = new_key("ci", ["write"], collections=["pets"])
    assert (key.sees("pets"), key.sees("secret")) == (True, False)
    key.require_seen("pets")
    with pytest.raises(NotFound, match=r"^no collection named 'secret'$"):
        key.require_seen("secret")
    with pytest.raises(Forbidden, match="limited to some"):
        key.require_all_collections()
    with pytest.raises(Forbidden, match="'secret' is none of them"):
        key.require_may_name("secret")


def test_caller_without_a_key_may_do_everything() -> None:
    ANYONE.require("admin")
    ANYONE.require_all_collections()
    ANYONE.require_seen("secret")


def test_key_expires() -> None:
    key, _ = new_key("ci", ["read"], expires_at=LATER)
    assert not key.has_expired(LATER - timedelta(seconds=1))
    assert key.has_expired(LATER)
    assert not new_key("ci", ["read"])[0].has_expired(LATER)


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("name", {"name": ""}),
        ("name", {"name": "a\nb"}),
        ("name", {"name": " a"}),
        ("name", {"name": "a" * 101}),
        ("scopes", {"scopes": []}),
        ("scopes", {"scopes": ["owner"]}),
        ("collections", {"collections": []}),
        ("collections", {"collections": ["Pets!"]}),
        ("collections", {"collections": ["pets"], "scopes": ["admin"]}),
        ("collections", {"collections": [f"c{n}" for n in range(1001)]}),
        ("expires_at", {"expires_at": datetime(2999, 1, 1)}),
        ("expires_at", {"expires_at": datetime(2000, 1, 1, tzinfo=UTC)}),
    ],
)
def test_key_that_means_nothing_is_refused_by_the_field(field: str, given: dict[str, Any]) -> None:
    values: dict[str, Any] = {"name": "ci", "scopes": ["read"], **given}
    with pytest.raises(InvalidValue) as refused:
        new_key(values.pop("name"), values.pop("scopes"), **values)
    assert refused.value.item == field


def test_stored_key_is_checked_too() -> None:
    known, _ = new_key("ci", ["read"])
    for field, value in {"prefix": "short", "sha256": "00", "scopes": ()}.items():
        with pytest.raises(InvalidValue) as refused:
            Key(**{**vars(known), field: value})
        assert refused.value.item == field

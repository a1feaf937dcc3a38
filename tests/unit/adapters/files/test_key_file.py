"""The file of API keys: several writers, damage, links, and folders that cannot be written."""

import json
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from diptych.adapters.files import key_file
from diptych.adapters.files.key_file import KeyFile
from diptych.core.keys.key import Key, new_key
from diptych.errors import ConfigError, Conflict, NotFound, StoreReadOnly


@pytest.fixture(autouse=True)
def permissive_umask() -> Iterator[None]:
    umask = os.umask(0)
    yield
    os.umask(umask)


def opened(folder: Path) -> KeyFile:
    return KeyFile(folder / "keys.json", folder / "uses.json")


def made(name: str = "ci", **given: object) -> Key:
    return new_key(name, ["write"], **given)[0]  # type: ignore[arg-type]


def test_keys_are_read_as_they_were_added(tmp_path: Path) -> None:
    file = opened(tmp_path / "new")
    assert file.read() is None
    assert file.fingerprint() is None
    first = made(collections=["pets", "cars"], expires_at=datetime(2999, 1, 2, 3, 4, 5, tzinfo=UTC))
    second = made("other")
    file.add(first)
    file.add(second)
    assert file.read() == [first, second]
    assert file.remove(first.prefix) == first
    assert file.read() == [second]
    assert file.remove(second.prefix) == second
    assert file.read() == []  # which is not None: a server stays closed
    with pytest.raises(NotFound, match=first.prefix):
        file.remove(first.prefix)


def test_files_are_for_their_user_alone_and_hold_no_token(tmp_path: Path) -> None:
    key, token = new_key("ci", ["read"])
    file = opened(tmp_path)
    file.add(key)
    file.save_last_uses({key.prefix: datetime.now(UTC)})
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"keys.json": 0o600, "keys.json.lock": 0o600, "uses.json": 0o600}
    assert token[13:] not in (tmp_path / "keys.json").read_text()


def test_every_change_changes_the_fingerprint(tmp_path: Path) -> None:
    file = opened(tmp_path)
    seen = [file.fingerprint()]
    for _ in range(3):
        file.add(made())
        seen.append(file.fingerprint())
    assert len(set(seen)) == len(seen)


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: opened(tmp_path).add(made()), range(40)))
    assert len(opened(tmp_path).read() or []) == 40


def test_number_of_keys_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_file, "MAX_KEYS", 1)
    file, first = opened(tmp_path), made()
    file.add(first)
    with pytest.raises(Conflict, match="there are 1 API keys, which is the limit"):
        file.add(made())
    assert file.read() == [first]


def test_prefix_that_is_taken_is_refused(tmp_path: Path) -> None:
    file, key = opened(tmp_path), made()
    file.add(key)
    with pytest.raises(Conflict, match=key.prefix):
        file.add(key)
    assert file.read() == [key]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_what_root_writes_belongs_to_the_owner_of_the_folder(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12345)
    opened(tmp_path).add(made())
    owners = {path.stat().st_uid for path in tmp_path.iterdir()}
    assert owners == {12345}


def row(**changes: object) -> dict[str, object]:
    key = made()
    good = {"prefix": key.prefix, "name": "ci", "sha256": key.sha256, "scopes": ["read"]}
    return {**good, "created_at": "2026-01-01T00:00:00+00:00", **changes}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not JSON, at line 1"),
        ('{\n"keys": [}', "not JSON, at line 2"),
        ("[]", "cannot be read: TypeError"),
        ("{}", "cannot be read: KeyError 'schema_version'"),
        (json.dumps({"schema_version": 2, "keys": []}), "schema_version is not 1"),
        (json.dumps({"schema_version": 1, "keys": [row(), row(scopes=["owner"])]}), r"keys\[1\].scopes"),
        (json.dumps({"schema_version": 1, "keys": [row(scopes=[])]}), r"keys\[0\].scopes"),
        (json.dumps({"schema_version": 1, "keys": [row(name=5)]}), "cannot be read: TypeError"),
        (json.dumps({"schema_version": 1, "keys": [row(collections=[])]}), r"keys\[0\].collections"),
        (json.dumps({"schema_version": 1, "keys": [row(created_at="soon")]}), "cannot be read"),
        (json.dumps({"schema_version": 1, "keys": [row(prefix="aaaaaaaa")] * 2}), "same prefix"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_damaged_file_is_refused_by_what_is_wrong(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "keys.json").write_text(content)
    with pytest.raises(ConfigError, match=said):
        opened(tmp_path).read()
    with pytest.raises(ConfigError, match=said):  # and is not overwritten
        opened(tmp_path).add(made())
    assert (tmp_path / "keys.json").read_text() == content


def test_link_is_followed_as_a_mounted_secret_has_it(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    opened(tmp_path / "elsewhere").add(made())
    (tmp_path / "keys.json").symlink_to(tmp_path / "elsewhere" / "keys.json")
    file = opened(tmp_path)
    before = file.fingerprint()
    file.add(made())
    assert (tmp_path / "keys.json").is_symlink()
    assert len(opened(tmp_path / "elsewhere").read() or []) == 2
    assert file.fingerprint() != before


def test_folder_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = opened(tmp_path)
    file.add(made())

    def refuse(*_: object) -> int:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StoreReadOnly, match=r"keys\.json cannot be written from here"):
        file.add(made())


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', '{"a": "b"}', "\xff"])
def test_last_uses_that_cannot_be_read_are_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "uses.json").write_text(content, encoding="latin-1")
    assert opened(tmp_path).last_uses() == {}

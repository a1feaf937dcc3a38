"""`diptych keys`: what it prints, and what a server beside it accepts."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from diptych.cli import main
from diptych.errors import ConfigError
from diptych.settings import read_settings
from diptych.wiring.keys import open_keys
from support.command_line import Capture


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIPTYCH_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("DIPTYCH_HOST", "0.0.0.0")  # which needs no key here
    return tmp_path / "data"


def created(capsys: Capture, *arguments: str) -> dict[str, Any]:
    assert main(["keys", "create", "--name", "ci", "--scope", "read", "--json", *arguments]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_created_key_is_printed_alone_and_accepted(capsys: Capture, data_dir: Path) -> None:
    assert main(["keys", "create", "--name", "ci", "--scope", "write", "--collection", "pets"]) == 0
    printed = capsys.readouterr()
    token = printed.out.strip()
    assert re.fullmatch(r"dpt_[a-z0-9]{8}_[A-Za-z0-9_-]{43}", token)
    place = data_dir / "keys.json"
    assert printed.err.startswith(f"ci: write on pets, expires never, in {place}. Keep the key above")
    key = open_keys(read_settings({})).caller(token)
    assert key is not None
    assert (key.scopes, key.collections) == (("write",), frozenset({"pets"}))
    assert (data_dir / "keys.json").exists()


def test_keys_are_listed_without_their_tokens(capsys: Capture) -> None:
    first = created(capsys, "--expires", "2999-12-31")
    second = created(capsys, "--collection", "pets", "--collection", "cars")
    assert main(["keys", "list"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["prefix", "name", "scopes", "collections", "created", "expires", "last", "used"]
    assert re.match(rf"{first['prefix']}  ci +read +all collections .* 2999-12-31 00:00 UTC +never$", rows[0])
    assert re.match(rf"{second['prefix']}  ci +read +cars, pets .* never +never$", rows[1])
    assert first["key"] not in str(rows)
    assert main(["keys", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed[1] == {name: value for name, value in second.items() if name != "key"}


@pytest.mark.parametrize("verb", [["list"], ["revoke", "abcdefgh"]], ids=lambda verb: verb[0])
def test_mistyped_data_folder_is_an_error_and_is_not_made(
    verb: list[str], capsys: Capture, tmp_path: Path
) -> None:
    folder = tmp_path / "dta"
    assert main(["keys", *verb, "--data-dir", str(folder)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"there is no folder {folder}" in printed.err
    assert not folder.exists()


def test_revoked_key_is_refused(capsys: Capture, data_dir: Path) -> None:
    key = created(capsys)
    assert main(["keys", "revoke", key["prefix"]]) == 0
    assert capsys.readouterr().out == f"{key['prefix']}: the key of ci is revoked\n"
    assert open_keys(read_settings({})).caller(key["key"]) is None
    assert main(["keys", "revoke", key["prefix"]]) == 1
    told = capsys.readouterr().err
    assert told == f"diptych: no API key with prefix '{key['prefix']}' in {data_dir / 'keys.json'}\n"


def test_file_that_goes_after_the_settings_were_read_does_not_open_the_network(
    capsys: Capture, data_dir: Path
) -> None:
    created(capsys)
    settings = read_settings({})
    (data_dir / "keys.json").unlink()
    with pytest.raises(ConfigError, match=r"host 0\.0\.0\.0 needs API keys, and .*keys\.json is gone"):
        open_keys(settings)


@pytest.mark.parametrize("text", ["soon", "0d", "999999d"])
def test_expiry_of_another_form_is_refused(capsys: Capture, text: str) -> None:
    with pytest.raises(SystemExit) as ended:
        created(capsys, "--expires", text)
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--expires", "2000-01-01"], "diptych: --expires: is in the past"),
        (["--collection", "No Such"], "diptych: --collection: collection name 'No Such' must be"),
        (["--scope", "admin", "--collection", "pets"], "diptych: --collection: cannot limit a key"),
    ],
)
def test_key_that_means_nothing_is_refused_by_the_flag(
    capsys: Capture, arguments: list[str], said: str
) -> None:
    assert main(["keys", "create", "--name", "ci", "--scope", "read", *arguments]) == 1
    assert capsys.readouterr().err.startswith(said)

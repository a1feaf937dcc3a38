import argparse
import io
import json
import tarfile
from pathlib import Path

import pytest

from diptych_training.data.packed import read_dataset
from diptych_training.data.pictograms import command
from diptych_training.data.pictograms.lists import SourceSpec
from diptych_training.data.pictograms.npm import NpmCache
from diptych_training.errors import DataError

SQUARE = '<path d="M0 0h8v8H0z"/>'


def write_archive(file: Path, members: dict[str, str]) -> None:
    with tarfile.open(file, "w:gz") as tar:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))


class FakeNpm:
    """An `npm` on the PATH that delivers one archive for whatever it is asked, and writes down each call."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._script = folder / "bin" / "npm"
        self._script.parent.mkdir()
        monkeypatch.setenv("PATH", f"{self._script.parent}:/usr/bin:/bin")

    def delivers(self, members: dict[str, str]) -> None:
        write_archive(self._folder / "made.tgz", members)
        self._runs(f'echo "$@" >> {self._folder}/calls\ncp {self._folder}/made.tgz ./made.tgz')

    def fails(self, message: str) -> None:
        self._runs(f"echo 'npm warn old' >&2\necho '{message}' >&2\nexit 1")

    @property
    def calls(self) -> list[str]:
        return (self._folder / "calls").read_text().splitlines()

    def _runs(self, script: str) -> None:
        self._script.write_text(f"#!/bin/sh\n{script}\n")
        self._script.chmod(0o755)


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNpm:
    return FakeNpm(tmp_path, monkeypatch)


def cache(folder: Path) -> NpmCache:
    return NpmCache(folder / "npm", {"@some/art": "1.2.3"})


def test_package_is_fetched_once_and_only_wanted_files_are_kept(tmp_path: Path, npm: FakeNpm) -> None:
    npm.delivers({"package/svg/a.svg": "a", "package/sheets/big.png": "b"})
    for _ in range(2):
        folder = cache(tmp_path).folder("@some/art", "svg/")
    assert [file.name for file in folder.rglob("*.*")] == ["a.svg"]
    assert npm.calls == ["pack @some/art@1.2.3 --ignore-scripts --loglevel=error"]


def test_package_that_npm_does_not_find_is_named_with_the_reason(tmp_path: Path, npm: FakeNpm) -> None:
    npm.fails("npm error 404 Not Found")
    with pytest.raises(DataError, match=r"@some/art@1\.2\.3: npm error 404 Not Found"):
        cache(tmp_path).folder("@some/art")


def test_path_that_leads_out_of_the_package_is_refused(tmp_path: Path, npm: FakeNpm) -> None:
    npm.delivers({"package/../../../out.txt": "a"})
    with pytest.raises(DataError, match="cannot be unpacked"):
        cache(tmp_path).folder("@some/art")
    assert not list(tmp_path.rglob("out.txt"))


def test_command_builds_from_a_package_to_card_and_sheets(
    tmp_path: Path, npm: FakeNpm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    icons = {name: {"body": SQUARE} for name in ("home", "cup-1", "cup-2", "b")}
    npm.delivers({"package/json/tiny.json": json.dumps({"prefix": "tiny", "icons": icons})})
    tiny = SourceSpec("tiny", "validation", "icons", "@iconify/json", "MIT", "Somebody")
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(command, "source_specs", lambda split: [tiny])
    monkeypatch.setattr("diptych_training.data.pictograms.sources.source_specs", lambda split: [])
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["pictograms", "--jobs", "1", "--only", "validation"])
    assert args.run(args) == 0
    out = tmp_path / "cache" / "pictograms"
    (source,) = read_dataset(out).sources("validation")
    assert [item.label for item in source.items] == ["home", "cup"]
    assert {"CARD.md", "contact_sheet.png"} <= {file.name for file in out.iterdir()}
    assert "2 images of 1 sources" in capsys.readouterr().out

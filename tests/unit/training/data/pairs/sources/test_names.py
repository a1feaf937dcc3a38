"""Names of sources: braces, wildcards, endings and queries; and how names of pairs begin."""

import builtins
import sys

import pytest

from diptych_training.data.pairs.remote import unpack
from diptych_training.data.pairs.remote.urls import expand, find
from diptych_training.data.pairs.sources.find import prefixes_of
from diptych_training.errors import DataError
from support.pair_files import pair_files, write_files, write_image_table
from support.pair_reading import captions, read, things


def test_braces_are_written_out_as_shells_do():
    assert expand("a-{008..011}.tar") == ["a-008.tar", "a-009.tar", "a-010.tar", "a-011.tar"]
    assert expand("{x,y}/{0..1}") == ["x/0", "x/1", "y/0", "y/1"]
    assert expand("a{b}c{}") == ["a{b}c{}"]
    for pattern in ("{0..1000000}", "{0..999}{0..999}{0..1}"):
        with pytest.raises(DataError, match="stands for more than 1000000 files"):
            expand(pattern)
    with pytest.raises(DataError, match="counts down"):
        expand("{3..1}")


def test_a_file_or_folder_that_is_there_is_meant_literally(tmp_path):
    folder = write_files(tmp_path / "photos [2024] {a,b}", pair_files([0, 1]))
    write_image_table(folder / "t", 2)
    for source in (folder, folder / "t" / "pairs.csv"):
        assert find(str(source)) == [str(source)]
    assert captions(read(folder / "t" / "pairs.csv")) == things(2)
    assert find(f"{tmp_path}/{{0..1}}{'x' * 300}") == [f"{tmp_path}/{n}{'x' * 300}" for n in (0, 1)]


def test_names_tell_sources_of_the_same_name_by_their_folders():
    assert prefixes_of({"/d/a/s.tar": 2, "/d/b/s.tar": 2, "/d/photos": 1}) == {
        "/d/a/s.tar": "a/s.tar",
        "/d/b/s.tar": "b/s.tar",
        "/d/photos": "photos",
    }
    deep = {"/x/train/s.tar": 2, "/y/train/s.tar": 2, "s3://b/train/s.tar": 2, "/d/other/s.tar": 2}
    assert list(prefixes_of(deep).values()) == [
        "x/train/s.tar",
        "y/train/s.tar",
        "b/train/s.tar",
        "other/s.tar",
    ]
    same = {"/d/a/s.tar": 2, "/d/./a/s.tar": 2}
    assert set(prefixes_of(same).values()) == {"a/s.tar"}


def test_a_library_that_is_not_installed_is_told_with_the_extra_that_brings_it(tmp_path, monkeypatch):
    original = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name.partition(".")[0] in ("aiohttp", "requests"):
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.delitem(sys.modules, "fsspec.implementations.http", raising=False)
    for protocol in ("http", "https"):
        monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, protocol, raising=False)
    monkeypatch.setattr(unpack, "available_compressions", lambda: [None, "gzip"])
    (tmp_path / "s.tar.zst").touch()
    for source in (
        "https://h.org/s.tar",
        "https://h.org/s-*.tar",
        "https://h.org/t.csv",
        str(tmp_path / "s.tar.zst"),
    ):
        with pytest.raises(DataError, match=r"pip install 'diptych-training\[remote\]'"):
            read(source)

"""A run goes on only in the sources, files and lists that it began in, unless told otherwise."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from diptych_training.data.pairs.sources import changes
from diptych_training.data.pairs.sources.tar_shard import TarShard
from diptych_training.errors import CheckpointError
from diptych_training.train.batches.batch import (Position)
from support.pair_files import (
    pair_files,
    write_files,
    write_image_table,
)
from support.small_streams import (
    Make,
    excluding,
    opening,
    write_home,
)
from support.tars import tar_of


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_home(tmp_path_factory.mktemp("home"))


@pytest.fixture
def make(home: Path) -> Iterator[Make]:
    with opening(home) as make:
        yield make


def test_a_position_in_other_sources_is_refused(make, home):
    position: Position = make().position(0)
    with pytest.raises(CheckpointError, match="names other shards than when the checkpoint was written"):
        make(train=f"{home}/shards/s-{{0..2}}.tar", position=position)


def copy_of_shards(home: Path, folder: Path) -> tuple[str, Path]:
    """The shards elsewhere, and the third of them."""
    folder.mkdir()
    for file in (home / "shards").iterdir():
        shutil.copy2(file, folder)
    return f"{folder}/s-{{0..3}}.tar", folder / "s-2.tar"


def test_a_file_that_has_changed_under_its_name_is_refused_and_named(make, home, tmp_path):
    train, third = copy_of_shards(home, tmp_path / "s")
    position = make(train=train).position(0)
    make(train=train, position=position)
    n_bytes = third.stat().st_size
    third.write_bytes(tar_of(pair_files(range(26, 30))))
    assert third.stat().st_size != n_bytes
    message = (
        r"s-2\.tar has changed since the checkpoint was written: .* --set data\.pairs\.accept_changes=true"
    )
    with pytest.raises(CheckpointError, match=message):
        make(train=train, position=position)
    resumed = make("data.pairs.accept_changes=true", train=train, position=position)
    assert make(train=train, position=resumed.position(0)).position(0) == resumed.position(0)


def test_a_change_that_keeps_the_size_is_seen_by_its_time(make, home, tmp_path):
    train, third = copy_of_shards(home, tmp_path / "s")
    position = make(train=train).position(0)
    os.utime(third, ns=(0, 0))
    with pytest.raises(CheckpointError, match=r"s-2\.tar has changed"):
        make(train=train, position=position)


def test_a_checkpoint_of_before_that_knows_names_alone_and_goes_on(make, home, tmp_path):
    train, third = copy_of_shards(home, tmp_path / "s")
    position = make(train=train).position(0)
    del position["contents"]
    third.write_bytes(tar_of(pair_files(range(26, 30))))
    make(train=train, position=position)


@pytest.mark.parametrize("kind", ["folder", "table", "memory"])
def test_changes_of_sources_of_other_kinds_are_seen(make, tmp_path, kind):
    if kind == "folder":
        source = changing = write_files(tmp_path / "f", pair_files(range(8)))
        changing /= "00005.txt"
    elif kind == "table":
        source = changing = write_image_table(tmp_path / "t", 8)
    else:
        (tmp_path / "s.tar").write_bytes(tar_of(pair_files(range(8))))
        fsspec.filesystem("memory").pipe("/changes/s.tar", tar_of(pair_files(range(8))))
        source = "memory://changes/s.tar"
    position = make(train=str(source)).position(0)
    make(train=str(source), position=position)
    if kind == "memory":
        fsspec.filesystem("memory").pipe("/changes/s.tar", tar_of(pair_files(range(1, 9))))
    else:
        changing.write_bytes(changing.read_bytes().replace(b"thing", b"other"))
        os.utime(changing, ns=(0, 0))
    told = (
        "one of 16 files from .*00000.png on"
        if kind == "folder"
        else "pairs.csv"
        if kind == "table"
        else "s.tar"
    )
    with pytest.raises(CheckpointError, match=f"{told} has changed since"):
        make(train=str(source), position=position)


def test_what_a_server_does_not_tell_counts_as_unchanged_and_many_files_are_sampled(monkeypatch):
    asked: list[str] = []

    def unreachable(url: str) -> None:
        asked.append(url)

    monkeypatch.setattr(changes, "file_tag_or_none", unreachable)
    monkeypatch.setattr(changes, "MAX_REMOTE", 10)
    tars = [TarShard(f"https://h.org/{number}.tar", f"{number}.tar", 1) for number in range(35)]
    now = changes.fingerprints(tars)
    assert now == changes.UNKNOWN * 35
    assert len(asked) == 9
    assert changes.changed_files(tars, "12345678" * 35, now) == []


def test_another_list_of_excluded_pairs_is_refused_when_a_run_goes_on_and_named(make, tmp_path):
    override = excluding(tmp_path, 3)
    position = make(override).position(0)
    make(override, position=position)
    names = (tmp_path / "list.tsv").read_text().split("\n")
    (tmp_path / "list.tsv").write_text("\n".join(["name\tcosine", *(f"{n}\t1" for n in names[:0:-1])]))
    make(override, position=position)  # the same names
    assert excluding(tmp_path, 4) == override
    message = (
        r"data\.pairs\.exclude, .*list\.tsv, names other pairs than when .* written "
        r"\(digest [0-9a-f]{12} then, [0-9a-f]{12} now\): .* --set data\.pairs\.accept_changes=true"
    )
    with pytest.raises(CheckpointError, match=message):
        make(override, position=position)
    resumed = make(override, "data.pairs.accept_changes=true", position=position)
    assert make(override, position=resumed.position(0)).position(0) == resumed.position(0)


def test_a_checkpoint_of_before_that_knows_no_list_goes_on(make, tmp_path):
    position = make(excluding(tmp_path, 3)).position(0)
    del position["excluded"]
    make(excluding(tmp_path, 4), position=position)

"""A run goes on only in the sources, files and lists that it began in, unless told otherwise."""

import os
import shutil
from pathlib import Path

import fsspec
import pytest

from diptych_training.errors import CheckpointError
from support.pair_files import (
    pair_files,
    write_files,
    write_image_table,
)
from support.small_streams import (
    excluding,
)
from support.tars import tar_of


def copy_of_shards(pairs_home: Path, folder: Path) -> tuple[str, Path]:
    """The shards elsewhere, and the third of them."""
    folder.mkdir()
    for file in (pairs_home / "shards").iterdir():
        shutil.copy2(file, folder)
    return f"{folder}/s-{{0..3}}.tar", folder / "s-2.tar"


def test_a_file_that_has_changed_under_its_name_is_refused_and_named(make, pairs_home, tmp_path):
    train, third = copy_of_shards(pairs_home, tmp_path / "s")
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

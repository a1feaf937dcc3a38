"""Pairs that are left out of a run: those that cannot be used, and those on a list."""

from pathlib import Path

import pytest

from diptych_training.errors import DataError
from support.pair_files import (
    pair_files,
    picture,
)
from support.small_streams import (
    N_PAIRS,
    run_of,
)
from support.tars import tar_of


def damaged_folder(tmp_path: Path, n_good: int, n_bad: int) -> str:
    files = pair_files(range(n_good))
    for number in range(n_bad):
        files |= {f"bad-{number}.png": picture(0)[:45], f"bad-{number}.txt": b"words"}
    (tmp_path / "d.tar").write_bytes(tar_of(files))
    return str(tmp_path / "d.tar")


def test_unusable_pairs_are_skipped_and_counted(make, tmp_path):
    train = damaged_folder(tmp_path, 30, 3)
    batches = make("data.pairs.streams=1", "data.pairs.shuffle=5", train=train)
    shown = {number for batch in run_of(batches, 0, 4) for number in batch}
    assert shown == set(range(30))
    numbers = batches.numbers()
    assert (numbers["data/skipped"], numbers["data/read"], numbers["data/epoch"]) == (3, 35, 1)
    assert numbers["data/wait_s"] > 0


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.long)])
def test_too_many_unusable_pairs_end_the_run_and_name_the_last_one(make, tmp_path, workers):
    batches = make(
        "data.pairs.streams=2", f"data.pairs.workers={workers}", "data.pairs.max_skipped=0.3",
        train=damaged_folder(tmp_path, 30, 60),
    )  # fmt: skip
    message = (
        r"d\.tar:bad-\d+: PNG image: .* one of 11 unusable of the \d+ entries that stream [01] has read; "
    )
    with pytest.raises(DataError, match=message + r"data\.pairs\.max_skipped allows 0\.3 of them, and 10"):
        run_of(batches, 0, 20)


def test_excluded_pairs_are_never_shown_and_not_counted_as_unusable(make, tmp_path):
    (tmp_path / "near.tsv").write_text("name\tother\nshards/s-0.tar:00003\tx\nshards/s-3.tar:00050\ty\n")
    batches = make(f"data.pairs.exclude='{tmp_path}/near.tsv'")
    shown = {number for batch in run_of(batches, 0, 14) for number in batch}
    assert shown == set(range(N_PAIRS)) - {3, 50}
    assert batches.numbers()["data/skipped"] == 0


def test_a_list_of_other_sources_is_refused_before_anything_is_read(make, tmp_path):
    (tmp_path / "near.tsv").write_text("name\ns-0.tar:00003\n")
    with pytest.raises(
        DataError, match=r"none of the 1 names of pairs to exclude belongs to these sources: one is 's-0\.tar"
    ):
        make(f"data.pairs.exclude='{tmp_path}/near.tsv'")


@pytest.mark.parametrize("content", [None, "s-0.tar:00003\n", b"\xff"])
def test_a_list_of_excluded_pairs_that_is_none_is_refused(make, tmp_path, content):
    if content is not None:
        (tmp_path / "x.tsv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=r"x\.tsv"):
        make(f"data.pairs.exclude='{tmp_path}/x.tsv'")

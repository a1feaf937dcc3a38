"""Pairs that are left out of a run: those that cannot be used, and those on a list."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from diptych_training.errors import DataError
from support.pair_files import (
    pair_files,
    picture,
)
from support.small_streams import (
    N_PAIRS,
    Make,
    excluding,
    opening,
    run_of,
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


def test_a_larger_bound_goes_through_the_same_data(make, tmp_path):
    train = damaged_folder(tmp_path, 30, 60)
    batches = make("data.pairs.streams=2", "data.pairs.max_skipped=0.9", train=train)
    assert {number for batch in run_of(batches, 0, 8) for number in batch} == set(range(30))


def test_images_over_a_limit_are_unusable(make):
    batches = make("data.pairs.max_image_px=255")
    with pytest.raises(DataError, match=r"image has 16 x 16 = 256 pixels, limit is 255"):
        run_of(batches, 0, 20)


def test_a_text_of_which_cleaning_leaves_nothing_is_skipped_and_counted(make, tmp_path):
    files = pair_files(range(6)) | {"x.png": picture(9), "x.txt": b"&nbsp;&#32;&nbsp;"}
    (tmp_path / "d.tar").write_bytes(tar_of(files))
    batches = make("data.pairs.streams=1", "data.pairs.shuffle=0", train=str(tmp_path / "d.tar"))
    batches.make(0)
    assert batches.numbers()["data/skipped"] == 1


def test_skipped_entries_count_from_where_the_run_began_when_it_goes_on(make, tmp_path):
    bad = ["data.pairs.streams=1", "data.pairs.shuffle=5", "data.pairs.max_skipped=0.5"]
    train = damaged_folder(tmp_path, 12, 3)
    batches = make(*bad, train=train)
    run_of(batches, 0, 6)
    expected = batches.numbers()["data/skipped"]
    assert expected > 3
    assert (
        make(*bad, train=train, first_step=6, position=batches.position(6)).numbers()["data/skipped"]
        == expected
    )


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


def test_a_run_whose_pairs_are_all_excluded_is_an_error(make, tmp_path):
    with pytest.raises(DataError, match=r"stream \d of 4: all of its 52 pairs are excluded"):
        make(excluding(tmp_path, N_PAIRS)).make(0)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_run_goes_on_though_whole_epochs_of_its_streams_are_excluded(make, tmp_path, seed):
    override, seed = excluding(tmp_path, 3 * 13), f"seed={seed}"
    batches = make(override, seed)
    expected = run_of(batches, 0, 14)
    assert {number for batch in expected for number in batch} == set(range(39, N_PAIRS))
    broken = make(override, seed)
    run_of(broken, 0, 9)
    assert run_of(make(override, seed, first_step=9, position=broken.position(9)), 9, 14) == expected[9:]


def test_a_run_of_which_the_list_leaves_bad_pairs_alone_is_an_error(make, tmp_path):
    source = tmp_path / "d.tar"
    source.write_bytes(tar_of(pair_files(range(30)) | {"x.png": b"?", "x.txt": b"x"}))
    names = [f"{tmp_path.name}/d.tar:{number:05}" for number in range(30)]
    (tmp_path / "list.tsv").write_text("\n".join(["name", *names]))
    one = ["data.pairs.streams=1", f"data.pairs.exclude='{tmp_path}/list.tsv'"]
    with pytest.raises(DataError, match=r"d\.tar:x: .* It is one of 11 unusable of the 11 entries"):
        make(*one, train=str(source)).make(0)


@pytest.mark.parametrize("content", [None, "s-0.tar:00003\n", b"\xff"])
def test_a_list_of_excluded_pairs_that_is_none_is_refused(make, tmp_path, content):
    if content is not None:
        (tmp_path / "x.tsv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=r"x\.tsv"):
        make(f"data.pairs.exclude='{tmp_path}/x.tsv'")

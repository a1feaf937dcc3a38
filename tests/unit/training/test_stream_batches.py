"""Batches of streams: the same ones however many processes make them, and wherever a run goes on."""

import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch

from diptych.bundle.text import TextTokenizer
from diptych_training.config import TrainConfig, read_config
from diptych_training.data.pairs import changes
from diptych_training.data.pairs.tar_shard import TarShard
from diptych_training.errors import CheckpointError, DataError, TrainingConfigError
from diptych_training.train.batches import Batch, Position
from diptych_training.train.ranks import ALONE, Ranks
from diptych_training.train.setup import check_shares
from diptych_training.train.stream_batches import StreamBatches, source_reader
from support.pair_files import (
    json_file,
    numbers_of,
    pair_files,
    picture,
    write_files,
    write_image_table,
    write_tars,
)
from support.tars import tar_of
from support.tiny_run import write_tiny_run

N_PAIRS = 4 * 13
OVERRIDES = [
    "run.steps=40", "run.batch_size=8", "preprocess.size=16", "model.image_size=16",
    "preprocess.mean=[0, 0, 0]", "preprocess.std=[1, 1, 1]", "data.pairs.streams=4", "data.pairs.shuffle=20",
    "data.pairs.workers=0",
]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    write_tiny_run(home / "run")
    write_tars(home / "shards", 4, N_PAIRS // 4)
    return home


def recipe(home: Path, *overrides: str, train: str = "") -> TrainConfig:
    train = train or f"{home}/shards/s-{{0..3}}.tar"
    named = f"data.pairs.train='{train}'"
    return read_config(home / "run" / "config.toml", [named, *OVERRIDES, *overrides])


Make = Callable[..., StreamBatches]


@pytest.fixture
def make(home: Path) -> Iterator[Make]:
    """Opens batches; their processes end with the test."""
    opened: list[StreamBatches] = []

    def make(*overrides: str, train: str = "", ranks: Ranks = ALONE, **place: object) -> StreamBatches:
        config = recipe(home, *overrides, train=train)
        assert config.data.pairs is not None
        shards = source_reader(config.data.pairs).shards(config.data.pairs.train)
        batches = StreamBatches(shards, home / "run" / "tokenizer.json", config, ranks, **place)
        opened.append(batches)
        return batches

    yield make
    for batches in opened:
        batches.close()


def seen(batch: Batch) -> list[int]:
    """Which pairs a batch has."""
    pixels = (batch.pixels.permute(0, 2, 3, 1) * 255).round().numpy().astype(np.uint8)
    return numbers_of(pixels)


def run_of(batches: StreamBatches, first: int, last: int) -> list[list[int]]:
    return [seen(batches.make(step)) for step in range(first, last)]


def equal(one: Batch, other: Batch) -> bool:
    return all(torch.equal(getattr(one, key), getattr(other, key)) for key in ("pixels", "input_ids", "keys"))


def test_an_epoch_of_all_streams_shows_every_pair_once_and_mixed(make):
    first = [number for batch in run_of(make(), 0, 6) for number in batch]
    assert len(set(first)) == len(first) == 48  # of 52: no stream has begun its second epoch
    assert first != sorted(first)


def test_images_and_captions_belong_together(make, home):
    batch = make().make(0)
    tokenizer = {row.tobytes(): number for number, row in captions_of(home).items()}
    found = [tokenizer[row[row != 0].int().numpy().tobytes()] for row in batch.input_ids]
    assert found == seen(batch)


def captions_of(home: Path) -> dict[int, np.ndarray]:
    tokenizer = TextTokenizer(home / "run" / "tokenizer.json", recipe(home).text)
    return {number: tokenizer.ids(f"thing {number}")[0] for number in range(N_PAIRS)}


def test_a_step_that_is_asked_for_again_is_the_same_and_one_past_the_end_costs_nothing(make):
    batches = make("augment.affine_probability=0.5")
    first = batches.make(0)
    assert equal(first, batches.make(0))
    assert batches.make(40).pixels.shape == first.pixels.shape
    assert equal(make("augment.affine_probability=0.5").make(0), first)
    second = batches.make(1)
    assert batches.numbers()["data/read"] == 16
    assert not equal(first, second)


@pytest.mark.parametrize("broken_at", [1, 4, 9, 16])
def test_a_run_that_goes_on_sees_what_an_unbroken_one_sees(make, broken_at):
    augment = "augment.affine_probability=0.5"
    unbroken, broken = make(augment), make(augment)
    for step in range(broken_at):
        unbroken.make(step), broken.make(step)
    position = broken.position(broken_at)
    resumed = make(augment, first_step=broken_at, position=position)
    for step in range(broken_at, 20):
        assert equal(resumed.make(step), unbroken.make(step))
    assert resumed.position(20) == unbroken.position(20)


def test_a_batch_that_was_made_but_not_learned_from_comes_again(make):
    batches = make()
    batches.make(0)
    made = batches.make(1)
    assert equal(make(first_step=1, position=batches.position(1)).make(1), made)


def test_the_number_of_worker_processes_changes_nothing_of_a_run_nor_does_a_break(make):
    alone = make()
    expected = run_of(alone, 0, 12)
    two = make("data.pairs.workers=2")
    assert run_of(two, 0, 7) == expected[:7]
    resumed = make("data.pairs.workers=3", first_step=7, position=two.position(7))
    assert run_of(resumed, 7, 12) == expected[7:]
    assert resumed.position(12) == alone.position(12)


@dataclass(frozen=True)
class Deaf(Ranks):
    """One of several ranks in a test that has only this one: it gathers what it has itself."""

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        return rows

    def mean(self, value: float) -> float:
        return value


def test_ranks_see_together_what_one_would_and_others_go_on_where_they_stopped(make):
    alone = make()
    whole = run_of(alone, 0, 6)
    ranks = [make(ranks=Deaf(rank, 2)) for rank in range(2)]
    shares = [run_of(rank, 0, 6) for rank in ranks]
    assert [[*one, *other] for one, other in zip(*shares, strict=True)] == whole
    places = [place for rank in ranks for place in rank.position(6)["places"]]
    assert {**ranks[0].position(6), "places": places} == alone.position(6)
    four = [make(ranks=Deaf(rank, 4), first_step=6, position=alone.position(6)) for rank in range(4)]
    quarters = [run_of(rank, 6, 9) for rank in four]
    together = [[number for quarter in quarters for number in quarter[step]] for step in range(3)]
    assert run_of(alone, 6, 9) == together


def test_streams_that_cannot_be_shared_evenly_are_refused(home):
    config = recipe(home, "run.batch_size=12")
    with pytest.raises(TrainingConfigError, match=r"streams is 4: it must be a multiple of .* ranks, 3"):
        check_shares(config, Ranks(0, 3))
    check_shares(config, Ranks(0, 2))


def test_a_batch_that_is_no_multiple_of_the_streams_is_refused(home):
    with pytest.raises(TrainingConfigError, match=r"run\.batch_size 8 is not a multiple of .*streams 3"):
        recipe(home, "data.pairs.streams=3")


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

    def silent(url: str) -> None:
        asked.append(url)

    monkeypatch.setattr(changes, "told_of", silent)
    monkeypatch.setattr(changes, "MAX_REMOTE", 10)
    tars = [TarShard(f"https://h.org/{number}.tar", f"{number}.tar", 1) for number in range(35)]
    now = changes.fingerprints(tars)
    assert now == changes.UNKNOWN * 35
    assert len(asked) == 9
    assert changes.changed_files(tars, "12345678" * 35, now) == []


def test_pairs_that_share_a_label_are_positives_whatever_caption_was_drawn(make, tmp_path):
    files = {
        name: content
        for number in range(8)
        for name, content in {
            f"{number}.png": picture(number),
            f"{number}.json": json_file(label="CAT" if number % 2 else "cat ", captions=[f"cat {number}"]),
        }.items()
    }
    batch = make(train=str(write_files(tmp_path / "cats", files))).make(0)
    assert len({tuple(row.tolist()) for row in batch.input_ids}) > 1
    assert batch.positives.all()


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


@pytest.mark.parametrize("workers", [0, 2])
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


def test_excluded_pairs_are_never_shown_and_not_counted_as_unusable(make, tmp_path):
    (tmp_path / "near.tsv").write_text("name\tother\nshards/s-0.tar:00003\tx\nshards/s-3.tar:00050\ty\n")
    batches = make(f"data.pairs.exclude='{tmp_path}/near.tsv'")
    shown = {number for batch in run_of(batches, 0, 14) for number in batch}
    assert shown == set(range(N_PAIRS)) - {3, 50}
    assert batches.numbers()["data/skipped"] == 0


def test_a_list_of_other_sources_is_refused_before_anything_is_read(make, tmp_path):
    (tmp_path / "near.tsv").write_text("name\ns-0.tar:00003\n")
    with pytest.raises(
        DataError, match=r"none of the 1 names of pairs to leave out is of these sources: 's-0\.tar"
    ):
        make(f"data.pairs.exclude='{tmp_path}/near.tsv'")


def test_a_text_of_which_cleaning_leaves_nothing_is_skipped_and_counted(make, tmp_path):
    files = pair_files(range(6)) | {"x.png": picture(9), "x.txt": b"&nbsp;&#32;&nbsp;"}
    (tmp_path / "d.tar").write_bytes(tar_of(files))
    batches = make("data.pairs.streams=1", "data.pairs.shuffle=0", train=str(tmp_path / "d.tar"))
    batches.make(0)
    assert batches.numbers()["data/skipped"] == 1


def excluding(tmp_path: Path, n: int) -> str:
    """An override that leaves out the first `n` pairs."""
    names = [f"shards/s-{number // 13}.tar:{number:05}" for number in range(n)]
    (tmp_path / "list.tsv").write_text("\n".join(["name", *names]))
    return f"data.pairs.exclude='{tmp_path}/list.tsv'"


def test_a_run_whose_pairs_are_all_excluded_is_an_error(make, tmp_path):
    with pytest.raises(DataError, match=r"stream \d of 4: all of its 52 pairs are on the list of excluded"):
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


@pytest.mark.parametrize("content", [None, "s-0.tar:00003\n", b"\xff"])
def test_a_list_of_excluded_pairs_that_is_none_is_refused(make, tmp_path, content):
    if content is not None:
        (tmp_path / "x.tsv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=r"x\.tsv"):
        make(f"data.pairs.exclude='{tmp_path}/x.tsv'")


def test_a_worker_process_that_dies_is_a_clear_error_and_not_a_wait_for_ever(make):
    batches = make("data.pairs.workers=2")
    batches.make(0)
    os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
    message = r"a process that prepares data has died, .* \(process \d+ was killed by SIGKILL\): .*--resume"
    with pytest.raises(DataError, match=message):
        run_of(batches, 1, 40)


@pytest.mark.long
@pytest.mark.parametrize("when_s", [0.0, 0.01, 0.1, 0.5, *np.linspace(1, 4, 16).round(2).tolist()])
def test_a_worker_process_may_die_at_any_moment(make, when_s):
    """While it starts, and while the loop waits for it, is busy, or is in the midst of taking a part."""
    batches = make("data.pairs.workers=2", "preprocess.size=224", "model.image_size=224", "run.steps=100000")
    doomed = threading.Thread(target=kill_a_child, args=(when_s,))
    doomed.start()
    with pytest.raises(DataError, match=r"a process that prepares data has died.*--resume"):
        for step in range(100_000):
            batches.make(step)
            sum(range(200_000))  # what the model would take
    doomed.join()


def kill_a_child(after_s: float) -> None:
    while len(multiprocessing.active_children()) < 2:
        time.sleep(0.01)
    time.sleep(after_s)
    child = multiprocessing.active_children()[-1]
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)


def test_workers_end_when_batches_are_closed_and_took_nothing_of_the_numbers_of_training(make):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    batches = make("data.pairs.workers=2")
    batches.make(0)
    assert torch.equal(torch.rand(1), expected)
    assert len(multiprocessing.active_children()) == 2
    batches.close()
    assert not multiprocessing.active_children()

"""Batches of streams do not depend on the number of processes, nor on interruptions."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.errors import DataError, TrainingConfigError
from diptych_training.train.batches.batch import Batch
from diptych_training.train.defaults import check_shares
from diptych_training.train.distributed.ranks import Ranks
from support.pair_files import (
    json_file,
    picture,
    write_files,
)
from support.small_streams import (
    N_PAIRS,
    Make,
    opening,
    recipe,
    run_of,
    seen,
    write_home,
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_home(tmp_path_factory.mktemp("home"))


@pytest.fixture
def make(home: Path) -> Iterator[Make]:
    with opening(home) as make:
        yield make


def equal(one: Batch, other: Batch) -> bool:
    return all(torch.equal(getattr(one, key), getattr(other, key)) for key in ("images", "input_ids", "keys"))


def test_an_epoch_contains_every_pair_once_in_random_order(make):
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


def test_a_repeated_step_is_the_same_and_a_step_past_the_end_reads_nothing(make):
    batches = make("augment.affine_probability=0.5")
    first = batches.make(0)
    assert equal(first, batches.make(0))
    assert batches.make(40).images.shape == first.images.shape
    assert equal(make("augment.affine_probability=0.5").make(0), first)
    second = batches.make(1)
    assert batches.numbers()["data/read"] == 16
    assert not equal(first, second)


@pytest.mark.parametrize("broken_at", [1, 4, 9, 16])
def test_a_resumed_run_gets_the_batches_of_an_unbroken_run(make, broken_at):
    augment = "augment.affine_probability=0.5"
    unbroken, broken = make(augment), make(augment)
    for step in range(broken_at):
        unbroken.make(step), broken.make(step)
    position = broken.position(broken_at)
    resumed = make(augment, first_step=broken_at, position=position)
    for step in range(broken_at, 20):
        assert equal(resumed.make(step), unbroken.make(step))
    assert resumed.position(20) == unbroken.position(20)


def test_an_unused_batch_is_repeated_after_resuming(make):
    batches = make()
    batches.make(0)
    made = batches.make(1)
    assert equal(make(first_step=1, position=batches.position(1)).make(1), made)


def test_neither_worker_processes_nor_resuming_change_the_batches(make):
    alone = make()
    expected = run_of(alone, 0, 12)
    two = make("data.pairs.workers=2")
    assert run_of(two, 0, 7) == expected[:7]
    resumed = make("data.pairs.workers=1", first_step=7, position=two.position(7))
    assert run_of(resumed, 7, 12) == expected[7:]
    assert resumed.position(12) == alone.position(12)


@dataclass(frozen=True)
class IsolatedRank(Ranks):
    """One of several ranks, alone in its test: it gathers only its own values."""

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        return rows

    def mean(self, value: float) -> float:
        return value


def test_ranks_together_get_the_batches_of_one_and_another_number_can_resume(make):
    alone = make()
    whole = run_of(alone, 0, 6)
    ranks = [make(ranks=IsolatedRank(rank, 2)) for rank in range(2)]
    shares = [run_of(rank, 0, 6) for rank in ranks]
    assert [[*one, *other] for one, other in zip(*shares, strict=True)] == whole
    places = [place for rank in ranks for place in rank.position(6)["places"]]
    assert {**ranks[0].position(6), "places": places} == alone.position(6)
    four = [make(ranks=IsolatedRank(rank, 4), first_step=6, position=alone.position(6)) for rank in range(4)]
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


def test_a_dead_worker_process_is_an_error_and_not_an_endless_wait(make):
    batches = make("data.pairs.workers=2")
    batches.make(0)
    os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
    message = r"a process that prepares data has died, .* \(process \d+ was killed by SIGKILL\): .*--resume"
    with pytest.raises(DataError, match=message):
        run_of(batches, 1, 40)


@pytest.mark.long
@pytest.mark.parametrize("when_s", [0.0, 0.01, 0.1, 0.5, *np.linspace(1, 4, 16).round(2).tolist()])
def test_a_worker_process_may_die_at_any_moment(make, when_s):
    """While it starts, while the loop waits for it or is busy, or while the loop receives a part."""
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


@pytest.mark.long
def test_closing_ends_the_workers_and_they_draw_no_random_numbers_of_training(make):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    batches = make("data.pairs.workers=2")
    batches.make(0)
    assert torch.equal(torch.rand(1), expected)
    assert len(multiprocessing.active_children()) == 2
    batches.close()
    assert not multiprocessing.active_children()

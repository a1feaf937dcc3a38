"""Batches of streams do not depend on the number of processes, nor on interruptions."""

import multiprocessing
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from diptych.bundle.text.tokenizer import TextTokenizer
from diptych_training.errors import DataError
from diptych_training.train.batches.batch import Batch
from diptych_training.train.distributed.ranks import Ranks
from support.pair_files import picture, write_files
from support.small_streams import (
    N_PAIRS,
    recipe,
    run_of,
    seen,
)


def equal(one: Batch, other: Batch) -> bool:
    return all(torch.equal(getattr(one, key), getattr(other, key)) for key in ("images", "input_ids", "keys"))


def test_images_and_captions_belong_together(make, pairs_home):
    batch = make().make(0)
    tokenizer = {row.tobytes(): number for number, row in captions_of(pairs_home).items()}
    found = [tokenizer[row[row != 0].int().numpy().tobytes()] for row in batch.input_ids]
    assert found == seen(batch)


def test_captions_that_differ_in_articles_case_or_punctuation_are_positives(make, tmp_path):
    for number, text in enumerate(["cat", "A cat", "the cat.", "Cat!", "dog", "the Dog", "dog?", "a dog"]):
        write_files(tmp_path, {f"{number}.png": picture(number), f"{number}.txt": text.encode()})
    batch = make(train=str(tmp_path)).make(0)
    assert len(batch.input_ids.unique(dim=0)) > 2
    assert len(batch.positives.unique(dim=0)) == 2


def captions_of(pairs_home: Path) -> dict[int, np.ndarray]:
    tokenizer = TextTokenizer(pairs_home / "run" / "tokenizer.json", recipe(pairs_home).text)
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


def test_neither_worker_processes_nor_resuming_change_the_batches(make):
    alone = make()
    expected = run_of(alone, 0, 12)
    two = make("data.pairs.workers=2")
    assert run_of(two, 0, 7) == expected[:7]
    resumed = make(first_step=7, position=two.position(7))
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

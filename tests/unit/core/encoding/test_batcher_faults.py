"""Encoders that raise, answer wrongly or hang: which items fail, which do not, and that nobody waits for
ever.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.errors import EncoderFailed, NotReady
from unit.core.core_fakes import (
    DIM,
    FakeMetrics,
    HangingEncoder,
    NumberEncoder,
    number_batcher,
    until,
    values_or_errors,
)

N_GOOD = 20  # numbers below are good; those from here on have one of FAULTS each


def hang(rows: Any, on_start: Any) -> Any:
    stopped = threading.Event()
    on_start(stopped.set)
    assert stopped.wait(30)
    raise RuntimeError("stopped")


def fail(error: BaseException) -> Any:
    raise error


SPOIL: dict[str, Callable[[Any, Any], Any]] = {
    "raise": lambda rows, on_start: fail(ZeroDivisionError()),
    "exit": lambda rows, on_start: fail(SystemExit(3)),
    "few rows": lambda rows, on_start: rows[:-1],
    "many rows": lambda rows, on_start: np.concatenate([rows, rows]),
    "narrow": lambda rows, on_start: rows[:, 1:],
    "flat": lambda rows, on_start: rows.ravel(),
    "nothing": lambda rows, on_start: None,
    "hang": hang,
}
FAULTS = tuple(SPOIL)


def encode_with_faults(items: Sequence[int], on_start: Any) -> Any:
    """Encode a number n to (n, ..., n), unless an item of the batch has a fault: then the whole batch
    fails.
    """
    rows = np.repeat(np.array(items, np.float32)[:, np.newaxis], DIM, axis=1)
    faults = sorted({FAULTS[item - N_GOOD] for item in items if item >= N_GOOD})
    return SPOIL[faults[0]](rows, on_start) if faults else rows


@pytest.mark.parametrize("fault", FAULTS)
async def test_only_the_item_that_the_encoder_cannot_do_fails(fault: str) -> None:
    batcher = number_batcher(encode_with_faults, max_batch_size=8, timeout_s=0.05)
    busy = asyncio.create_task(batcher.submit(0))
    await asyncio.sleep(0)
    bad = N_GOOD + FAULTS.index(fault)
    outcomes = await asyncio.gather(batcher.submit_many([1, 2, bad, 3]), batcher.submit_many([4, bad]))
    assert [values_or_errors(one) for one in outcomes] == [[1, 2, EncoderFailed, 3], [4, EncoderFailed]]
    assert values_or_errors([await busy, await batcher.submit(5)]) == [0, 5]
    await batcher.close()


async def test_batch_that_hangs_is_stopped_and_its_items_are_tried_one_by_one() -> None:
    encoder = HangingEncoder(hang=[2])
    batcher = number_batcher(encoder, timeout_s=0.05)
    outcomes = await batcher.submit_many([1, 2, 3])
    assert values_or_errors(outcomes) == [1, EncoderFailed, 3]
    assert "did not answer within 0.05 s" in str(outcomes[1])
    assert encoder.batches == [[1, 2, 3], [1], [2], [3]]
    assert batcher.problem == ""
    assert values_or_errors(await batcher.submit_many([4])) == [4]
    await batcher.close()


async def test_success_is_forgotten_with_the_next_failure_and_known_again_with_the_next_success() -> None:
    batcher = number_batcher(NumberEncoder(bad=[1]))
    assert batcher.last_success_at is None
    await batcher.submit(0)
    assert batcher.last_success_at is not None
    await batcher.submit_many([1])
    assert batcher.last_success_at is None
    await batcher.submit_many([1, 2])
    assert batcher.last_success_at is not None
    await batcher.close()


async def stuck(n_workers: int, timeout_s: float) -> tuple[Any, HangingEncoder, list[str], Any]:
    """A batcher whose call of [7, 8] can neither end nor be stopped; with one worker, another item waits."""
    encoder, reasons = HangingEncoder(deaf=[7]), list[str]()
    batcher = number_batcher(
        encoder,
        timeout_s=timeout_s,
        stop_within_s=0.2,
        on_stuck=reasons.append,
        n_workers=n_workers,
        max_batch_size=2,
    )
    waiting = asyncio.create_task(batcher.submit_many([7, 8, 9] if n_workers == 1 else [7, 8]))
    await until(lambda: encoder.batches == [[7, 8]])
    return batcher, encoder, reasons, waiting


async def test_call_that_cannot_be_stopped_ends_the_batcher_and_nobody_waits() -> None:
    batcher, encoder, reasons, waiting = await stuck(1, 0.05)
    other = asyncio.create_task(batcher.submit_many([1, 2]))
    await until(lambda: batcher.problem)
    assert not waiting.done()  # it is told to stop, and may yet
    assert batcher.problem == "the image encoder hangs: the encoder has not answered for 0.05 s"
    assert values_or_errors(await waiting) == [NotReady] * 3
    assert values_or_errors(await other) == [NotReady] * 2
    with pytest.raises(NotReady, match="the image encoder hangs"):
        await batcher.submit(1)
    assert reasons == [batcher.problem] != [""]
    await batcher.close()  # does not wait for the lost thread
    with pytest.raises(NotReady, match="the image encoder hangs"):
        await batcher.submit(1)
    encoder.release.set()


async def test_other_worker_ends_its_batch_when_one_is_lost() -> None:
    batcher, encoder, reasons, waiting = await stuck(2, 1.0)
    await until(lambda: batcher.problem)
    encoder.gate.clear()  # until the other worker is lost, well before this call is late
    beside = asyncio.create_task(batcher.submit_many([1, 2]))
    assert values_or_errors(await waiting) == [NotReady] * 2
    encoder.gate.set()
    assert values_or_errors(await beside) == [1, 2]
    assert len(reasons) == 1
    await batcher.close()
    encoder.release.set()


async def test_closing_cuts_the_rerun_of_a_failed_batch_short() -> None:
    encoder = NumberEncoder(bad=[1])
    batcher = number_batcher(encoder)
    encoder.gate.clear()
    waiting = asyncio.create_task(batcher.submit_many([1, 2, 3]))
    await until(encoder.entered.is_set)
    closing = asyncio.create_task(batcher.close())
    await asyncio.sleep(0)
    encoder.gate.set()
    await closing
    assert values_or_errors(await waiting) == [NotReady] * 3
    assert encoder.batches == [[1, 2, 3]]


requests = st.lists(
    st.tuples(st.lists(st.integers(0, N_GOOD + len(FAULTS) - 1), max_size=10), st.booleans(), st.booleans()),
    max_size=10,
)


@settings(deadline=None, max_examples=40)
@given(plan=requests, n_workers=st.integers(1, 3), max_batch_size=st.integers(1, 6), sized=st.booleans())
def test_whatever_goes_wrong_everybody_gets_the_outcomes_of_his_own_items(
    plan: list[tuple[list[int], bool, bool]], n_workers: int, max_batch_size: int, sized: bool
) -> None:
    """Requests of good and bad items, some cancelled, in several workers; the server closes in the end."""

    async def run() -> None:
        metrics = FakeMetrics()
        batcher = number_batcher(
            encode_with_faults,
            n_workers=n_workers,
            max_batch_size=max_batch_size,
            size_of=(lambda item: item % 3) if sized else None,
            timeout_s=0.005,
            metrics=metrics,
        )
        tasks = []
        for items, cancel, pause in plan:
            task = asyncio.create_task(batcher.submit_many(items))
            tasks.append((items, cancel, task))
            await asyncio.sleep(0.001 if pause else 0)
            if cancel:
                task.cancel()
        for items, cancel, task in tasks:
            done, _ = await asyncio.wait([task], timeout=30)
            assert done, "somebody still waits"
            if task.cancelled():
                assert cancel
            else:
                expected = [EncoderFailed if item >= N_GOOD else item for item in items]
                assert values_or_errors(task.result()) == expected
        assert metrics.queue_items.get("image", 0) == 0
        await batcher.close()

    asyncio.run(run())

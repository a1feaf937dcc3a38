import asyncio
import threading
from typing import Any

from diptych.core.encoding.batcher import Batcher
from unit.core.core_fakes import FakeMetrics, NumberEncoder, number_batcher, until


def workers(n_workers: int, **changes: Any) -> tuple[Batcher[int], NumberEncoder, NumberEncoder, FakeMetrics]:
    """A batcher of several workers, its encoder for a batch that runs alone, and its encoder for parallel
    batches.
    """
    alone, beside, metrics = NumberEncoder(), NumberEncoder(), FakeMetrics()
    batcher = number_batcher(alone, encode_parallel=beside, n_workers=n_workers, metrics=metrics, **changes)
    return batcher, alone, beside, metrics


async def test_batch_that_is_alone_gets_all_threads() -> None:
    batcher, alone, beside, _ = workers(2)
    await batcher.submit_many([1, 2])
    await batcher.submit(3)
    assert (alone.batches, beside.batches) == ([[1, 2], [3]], [])
    await batcher.close()


async def test_batches_that_meet_run_side_by_side() -> None:
    alone, meeting = NumberEncoder(), threading.Barrier(2)

    def met(items: Any, on_start: Any) -> Any:
        meeting.wait(10)  # breaks if the other one never comes
        return NumberEncoder()(items)

    batcher = number_batcher(alone, encode_parallel=met, n_workers=2)
    rows = await batcher.submit_many(range(8))
    assert [int(row[0]) for row in rows] == list(range(8))
    assert alone.batches == []
    await batcher.close()


async def test_no_more_batches_run_than_there_are_workers() -> None:
    batcher, alone, beside, metrics = workers(2, max_batch_size=2)
    beside.gate.clear()
    waiting = asyncio.create_task(batcher.submit_many(range(10)))
    await until(lambda: len(beside.batches) == 2)
    await asyncio.sleep(0.02)
    assert beside.batches == [[0, 1], [2, 3]]
    assert metrics.queue_items["image"] == 6
    beside.gate.set()
    assert [int(row[0]) for row in await waiting] == list(range(10))
    assert sorted(len(batch) for batch in beside.batches + alone.batches) == [2] * 5
    await batcher.close()


async def test_closing_waits_for_every_worker() -> None:
    batcher, _, beside, _ = workers(2, max_batch_size=1)
    beside.gate.clear()
    waiting = asyncio.create_task(batcher.submit_many([1, 2]))
    await until(lambda: len(beside.batches) == 2)
    closing = asyncio.create_task(batcher.close())
    await asyncio.sleep(0.01)
    assert not closing.done()
    beside.gate.set()
    await closing
    assert [int(row[0]) for row in await waiting] == [1, 2]


async def test_items_of_one_size_meet_in_a_batch() -> None:
    encoder = NumberEncoder()
    batcher = number_batcher(encoder, max_batch_size=3, size_of=lambda n: n // 10)
    encoder.gate.clear()
    first = asyncio.create_task(batcher.submit(0))
    await until(encoder.entered.is_set)
    rest = asyncio.create_task(batcher.submit_many([50, 10, 51, 90, 52, 11, 91, 40]))
    await asyncio.sleep(0.01)
    encoder.gate.set()
    await asyncio.gather(first, rest)
    assert encoder.batches == [[0], [10, 11], [40, 50, 51], [52, 90, 91]]
    assert [int(row[0]) for row in rest.result()] == [50, 10, 51, 90, 52, 11, 91, 40]
    await batcher.close()

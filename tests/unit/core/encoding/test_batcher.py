import asyncio
from typing import Any

import pytest

from diptych.core.encoding.batcher import Batcher
from diptych.errors import NotReady
from unit.core.core_fakes import FakeMetrics, NumberEncoder, number_batcher, until, values_or_errors


async def queued_behind_busy(batcher: Batcher[int], encoder: NumberEncoder) -> "asyncio.Task[Any]":
    """Keep item 0 at the closed gate, so that whatever is submitted next must wait."""
    encoder.gate.clear()
    first = asyncio.create_task(batcher.submit(0))
    await until(encoder.entered.is_set)
    return first


async def test_idle_worker_takes_an_item_at_once_and_a_batch_forms_while_it_is_busy() -> None:
    encoder, metrics = NumberEncoder(), FakeMetrics()
    batcher = number_batcher(encoder, metrics=metrics)
    first = await queued_behind_busy(batcher, encoder)
    rest = [asyncio.create_task(batcher.submit(n)) for n in range(1, 8)]
    await until(lambda: metrics.queue_items["image"] == 7)
    encoder.gate.set()
    await asyncio.gather(first, *rest)
    assert encoder.batches == [[0], [1, 2, 3, 4], [5, 6, 7]]
    assert metrics.batches == [1, 4, 3]
    await batcher.close()


async def test_items_of_a_cancelled_waiter_are_dropped() -> None:
    encoder, metrics = NumberEncoder(), FakeMetrics()
    batcher = number_batcher(encoder, metrics=metrics)
    first = await queued_behind_busy(batcher, encoder)
    gone = asyncio.create_task(batcher.submit_many([91, 92, 93, 94]))
    await until(lambda: metrics.queue_items["image"] == 4)
    gone.cancel()
    await asyncio.wait([gone])
    kept = asyncio.create_task(batcher.submit_many([1, 2, 3, 4]))  # fits only in the room given back
    await asyncio.sleep(0)
    encoder.gate.set()
    assert values_or_errors([await first, *await kept]) == [0, 1, 2, 3, 4]
    assert not any(item > 90 for batch in encoder.batches for item in batch)
    await batcher.close()


async def test_closing_ends_the_running_batch_and_fails_the_rest_as_not_ready() -> None:
    encoder = NumberEncoder()
    batcher = number_batcher(encoder)
    first = await queued_behind_busy(batcher, encoder)
    waiting = asyncio.create_task(batcher.submit_many([1, 2]))
    await asyncio.sleep(0)
    closing = asyncio.create_task(batcher.close())
    assert values_or_errors(await waiting) == [NotReady, NotReady]
    encoder.gate.set()
    await closing
    assert values_or_errors([await first]) == [0]
    with pytest.raises(NotReady):
        await batcher.submit(3)


async def test_batch_whose_items_all_went_away_is_not_encoded() -> None:
    encoder, metrics = NumberEncoder(), FakeMetrics()
    batcher = number_batcher(encoder, metrics=metrics)
    first = await queued_behind_busy(batcher, encoder)
    gone = asyncio.create_task(batcher.submit(1))
    await until(lambda: metrics.queue_items["image"] == 1)
    metrics.observe_batch = lambda *values: gone.cancel()  # type: ignore[assignment,method-assign]
    encoder.gate.set()
    await asyncio.wait([first, gone])
    assert values_or_errors([await first, await batcher.submit(2)]) == [0, 2]
    assert encoder.batches == [[0], [2]]
    await batcher.close()

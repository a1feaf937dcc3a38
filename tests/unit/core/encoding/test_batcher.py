import asyncio
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.core.encoding.batcher import Batcher
from diptych.errors import EncoderFailed, NotReady
from unit.core.core_fakes import FakeMetrics, NumberEncoder, number_batcher, until, values_or_errors


async def queued_behind_busy(batcher: Batcher[int], encoder: NumberEncoder) -> "asyncio.Task[Any]":
    """Keep item 0 at the closed gate, so that whatever is submitted next must wait."""
    encoder.gate.clear()
    first = asyncio.create_task(batcher.submit(0))
    await until(encoder.entered.is_set)
    return first


def test_rows_come_back_in_the_order_of_their_items() -> None:
    async def run() -> None:
        batcher = number_batcher(NumberEncoder())
        assert values_or_errors(await batcher.submit_many(range(11))) == list(range(11))
        await batcher.close()

    asyncio.run(run())


def test_idle_worker_takes_an_item_at_once_and_a_batch_forms_while_it_is_busy() -> None:
    async def run() -> None:
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

    asyncio.run(run())


def test_only_the_guilty_item_of_a_failed_batch_fails() -> None:
    async def run() -> None:
        batcher = number_batcher(NumberEncoder(bad=[2, 5]), max_batch_size=8)
        outcomes = await batcher.submit_many(range(7))
        assert values_or_errors(outcomes) == [0, 1, EncoderFailed, 3, 4, EncoderFailed, 6]
        assert "secret" not in str(outcomes[2])
        await batcher.close()

    asyncio.run(run())


def test_failed_batch_reaches_every_waiter_and_the_worker_lives_on() -> None:
    async def run() -> None:
        encoder = NumberEncoder(bad=range(10))
        batcher = number_batcher(encoder)
        results = await asyncio.gather(*(batcher.submit(n) for n in range(10)), return_exceptions=True)
        assert all(isinstance(result, EncoderFailed) for result in results)
        encoder.bad.clear()
        assert values_or_errors([await batcher.submit(3)]) == [3]
        await batcher.close()

    asyncio.run(run())


@pytest.mark.parametrize("answer", [np.zeros((1, 8), np.float32), np.zeros(8, np.float32)])
def test_answer_of_the_wrong_shape_is_a_failure_of_the_encoder(answer: Any) -> None:
    async def run() -> None:
        batcher = number_batcher(
            lambda items, on_start: answer if len(items) > 1 else np.zeros(8, np.float32)
        )
        assert values_or_errors(await batcher.submit_many([1, 2])) == [EncoderFailed, EncoderFailed]
        await batcher.close()

    asyncio.run(run())


def test_items_of_a_cancelled_waiter_are_dropped() -> None:
    async def run() -> None:
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

    asyncio.run(run())


def test_closing_ends_the_running_batch_and_fails_the_rest_as_not_ready() -> None:
    async def run() -> None:
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

    asyncio.run(run())


requests = st.lists(
    st.tuples(st.lists(st.integers(0, 19), max_size=12), st.booleans(), st.booleans()), max_size=12
)


@settings(deadline=None, max_examples=60)
@given(
    plan=requests,
    bad=st.sets(st.integers(0, 19), max_size=4),
    max_batch_size=st.integers(1, 6),
)
def test_every_item_gets_exactly_one_outcome(
    plan: list[tuple[list[int], bool, bool]], bad: set[int], max_batch_size: int
) -> None:
    """Whatever requests, failures and hang-ups come: nothing is lost, doubled or mixed up."""

    async def run() -> None:
        encoder = NumberEncoder(bad=sorted(bad))
        batcher = number_batcher(encoder, max_batch_size=max_batch_size)
        tasks = []
        for items, cancel, pause in plan:
            task = asyncio.create_task(batcher.submit_many(items))
            tasks.append((items, cancel, task))
            await asyncio.sleep(0.001 if pause else 0)
            if cancel:
                task.cancel()
        for items, cancel, task in tasks:
            await asyncio.wait([task])
            check_outcome(items, cancel, task)
        assert all(len(batch) <= max_batch_size for batch in encoder.batches)
        await batcher.close()

    def check_outcome(items: list[int], cancel: bool, task: "asyncio.Task[Any]") -> None:
        if task.cancelled():
            assert cancel
        else:
            assert values_or_errors(task.result()) == [
                EncoderFailed if item in bad else item for item in items
            ]

    asyncio.run(run())


def test_batch_whose_items_all_went_away_is_not_encoded() -> None:
    async def run() -> None:
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

    asyncio.run(run())

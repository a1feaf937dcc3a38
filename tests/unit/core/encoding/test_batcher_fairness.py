"""One client with a thousand items next to ten with one item: waits are counted in batches, not in time."""

import asyncio
from collections.abc import Callable

import pytest

from diptych.core.concurrency.fair_queue import acting_for
from unit.core.core_fakes import NumberEncoder, number_batcher, until

BATCH = 16


async def batches_waited(
    n_workers: int, size_of: Callable[[int], int] | None, large: list[range]
) -> tuple[list[int], int]:
    """For each of ten single items, how many batches began until it was in one; and how many in all.

    The requests `large` are there first, and part of them is encoded already.
    """
    encoder = NumberEncoder()
    batcher = number_batcher(
        encoder,
        max_batch_size=BATCH,
        n_workers=n_workers,
        size_of=size_of,
    )

    async def ask(item: int) -> int:
        began = len(encoder.batches)
        await batcher.submit(item)
        return next(n for n, batch in enumerate(encoder.batches[began:], 1) if item in batch)

    first = [asyncio.create_task(batcher.submit_many(items)) for items in large]
    await until(lambda: len(encoder.batches) > 5)
    singles = [asyncio.create_task(ask(2000 + n)) for n in range(10)]
    waited = await asyncio.gather(*singles)
    n_before = len(encoder.batches)
    await asyncio.gather(*first)
    assert n_before < len(encoder.batches), "the large ones must not be done before"
    await batcher.close()
    return waited, len(encoder.batches)


@pytest.mark.parametrize("n_workers", [1, 2])
@pytest.mark.parametrize(
    "large", [[range(1000)], [range(n, n + 250) for n in range(0, 1000, 250)]], ids=["one request", "four"]
)
def test_ten_single_items_beside_a_thousand_wait_for_three_batches_at_most(
    n_workers: int, large: list[range]
) -> None:
    waited, _ = asyncio.run(batches_waited(n_workers, None, large))
    assert max(waited) <= 3 * n_workers


@pytest.mark.parametrize("size", [1, 50, 1000])
def test_sizes_make_single_items_wait_for_one_draw_more(size: int) -> None:
    def size_of(item: int) -> int:
        return size if item >= 2000 else item % 77

    waited, _ = asyncio.run(batches_waited(1, size_of, [range(1000)]))
    assert max(waited) <= 6


async def test_half_of_a_batch_is_of_the_other_key_however_many_requests_the_first_one_makes() -> None:
    encoder = NumberEncoder()
    batcher = number_batcher(encoder, max_batch_size=BATCH)
    encoder.gate.clear()
    first = asyncio.create_task(batcher.submit(0))
    await until(encoder.entered.is_set)
    with acting_for("greedy"):
        many = [asyncio.create_task(batcher.submit_many([n, n])) for n in range(1, 101)]
    with acting_for("modest"):
        few = [asyncio.create_task(batcher.submit_many(range(1000, 1008))) for _ in range(2)]
    await asyncio.sleep(0)
    encoder.gate.set()
    await asyncio.gather(first, *many, *few)
    others = [sum(item >= 1000 for item in batch) for batch in encoder.batches]
    assert others[:4] == [0, 8, 8, 0]
    await batcher.close()

import asyncio

import pytest

from diptych.core.concurrency.serial_write_queue import SerialWriteQueue
from diptych.errors import NotReady


async def test_write_goes_on_to_its_end_when_its_caller_is_cancelled() -> None:
    write_queue, gate, done = SerialWriteQueue(), asyncio.Event(), []

    async def write() -> None:
        await gate.wait()
        done.append("written")

    caller = asyncio.create_task(write_queue.run(write()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait([caller])
    gate.set()
    await write_queue.close()
    assert done == ["written"]


async def test_writes_never_overlap_and_an_error_reaches_only_its_caller() -> None:
    write_queue, inside, log = SerialWriteQueue(), 0, []

    async def write(n: int) -> int:
        nonlocal inside
        inside += 1
        assert inside == 1
        await asyncio.sleep(0)
        inside -= 1
        log.append(n)
        if n == 1:
            raise ValueError(n)
        return n

    results = await asyncio.gather(*(write_queue.run(write(n)) for n in range(4)), return_exceptions=True)
    assert [type(result) for result in results] == [int, ValueError, int, int]
    assert log == [0, 1, 2, 3]


async def test_closed_to_new_writes() -> None:
    write_queue = SerialWriteQueue()
    await write_queue.close()
    with pytest.raises(NotReady):
        await write_queue.run(asyncio.sleep(0))

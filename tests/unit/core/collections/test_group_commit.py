import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from diptych.core.collections.group_commit import MAX_ROWS, GroupCommit
from diptych.core.concurrency.serial_write_queue import SerialWriteQueue
from diptych.core.job import JobNote
from diptych.core.types import AddOutcome, NewRow, PutResult
from diptych.errors import NotReady, StoreFull

COLLECTION: Any = "collection"
OTHER: Any = "other collection"


def row(id: str) -> NewRow:
    return NewRow(id, id.ljust(64, "0"), 1, "image/png", 1, 1, None, np.ones(2, np.float32))


class Disk:
    """Records the groups; the first write waits for the gate; the rows of some ids find no room."""

    def __init__(self, no_room_for: Sequence[str] = ()) -> None:
        self.groups: list[list[str]] = []
        self.notes: list[tuple[str, str | None]] = []  # job and id of the row that a note is about
        self.gate = asyncio.Event()
        self._no_room_for = set(no_room_for)

    async def store(
        self, collection: Any, rows: Sequence[NewRow], replace: bool, notes: Sequence[JobNote]
    ) -> list[PutResult]:
        self.groups.append([row.id for row in rows])
        await self.gate.wait()
        if self._no_room_for & {row.id for row in rows}:
            raise StoreFull("no room")
        self.notes += [(note.job, None if note.row is None else rows[note.row].id) for note in notes]
        return [PutResult("created", int(row.id[1:])) for row in rows]


async def begun(
    group_commit: GroupCommit,
    *ids: str,
    collection: Any = COLLECTION,
    replace: bool = False,
    job: str | None = None,
) -> Any:
    """Start an add and let it wait for its turn; its job has a note about no row, and one about each row."""
    notes: list[JobNote] = []
    if job is not None:
        known = AddOutcome(0, None, "unchanged")
        notes = [JobNote(job, 0, outcome=known), *(JobNote(job, 1 + n, row=n) for n in range(len(ids)))]
    task = asyncio.create_task(
        group_commit.store(collection, [row(id) for id in ids], replace=replace, notes=notes)
    )
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task


async def test_adds_that_come_while_a_write_runs_are_stored_together_with_their_own_results() -> None:
    disk = Disk()
    group_commit = GroupCommit(disk.store, SerialWriteQueue())
    tasks = [
        await begun(group_commit, "i1"),
        await begun(group_commit, "i2", "i3"),
        await begun(group_commit, "i4"),
    ]
    disk.gate.set()
    keys = [[result.key for result in await task] for task in tasks]
    assert keys == [[1], [2, 3], [4]]
    assert disk.groups == [["i1"], ["i2", "i3", "i4"]]


async def test_adds_to_another_collection_or_with_another_replace_are_not_grouped() -> None:
    disk = Disk()
    group_commit = GroupCommit(disk.store, SerialWriteQueue())
    tasks = [
        await begun(group_commit, "i1"),
        await begun(group_commit, "i2"),
        await begun(group_commit, "i3", collection=OTHER),
        await begun(group_commit, "i4", replace=True),
        await begun(group_commit, "i5"),
    ]
    disk.gate.set()
    await asyncio.gather(*tasks)
    assert disk.groups == [["i1"], ["i2", "i5"], ["i3"], ["i4"]]


async def test_group_that_fails_is_tried_one_by_one() -> None:
    disk = Disk(no_room_for=["i3"])
    group_commit = GroupCommit(disk.store, SerialWriteQueue())
    tasks = [await begun(group_commit, f"i{n}") for n in range(1, 5)]
    disk.gate.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(outcome, StoreFull) for outcome in outcomes] == [False, False, True, False]
    assert disk.groups == [["i1"], ["i2", "i3", "i4"], ["i2"], ["i3"], ["i4"]]


async def test_add_whose_caller_left_is_stored_all_the_same() -> None:
    disk, write_queue = Disk(), SerialWriteQueue()
    group_commit = GroupCommit(disk.store, write_queue)
    first, second = await begun(group_commit, "i1"), await begun(group_commit, "i2")
    second.cancel()
    await asyncio.wait([second])
    disk.gate.set()
    await first
    await write_queue.close()
    assert disk.groups == [["i1"], ["i2"]]


async def test_group_is_no_larger_than_its_limit() -> None:
    disk = Disk()
    group_commit = GroupCommit(disk.store, SerialWriteQueue())
    half = [f"i{n}" for n in range(MAX_ROWS // 2)]
    tasks = [await begun(group_commit, "i1"), *[await begun(group_commit, *half) for _ in range(3)]]
    disk.gate.set()
    await asyncio.gather(*tasks)
    assert [len(group) for group in disk.groups] == [1, MAX_ROWS, MAX_ROWS // 2]


async def test_add_after_the_end_is_refused_and_taken_along_by_nobody() -> None:
    disk, write_queue = Disk(), SerialWriteQueue()
    group_commit = GroupCommit(disk.store, write_queue)
    running = await begun(group_commit, "i1")
    closing = asyncio.create_task(write_queue.close())
    await asyncio.sleep(0)
    with pytest.raises(NotReady):
        await group_commit.store(COLLECTION, [row("i2")], replace=False)
    disk.gate.set()
    await asyncio.gather(running, closing)
    assert disk.groups == [["i1"]]


async def test_notes_of_each_job_of_a_group_are_stored_in_its_commit() -> None:
    disk = Disk()
    group_commit = GroupCommit(disk.store, SerialWriteQueue())
    tasks = [
        await begun(group_commit, "i1"),
        await begun(group_commit, "i2"),
        await begun(group_commit, "i3", "i4", job="one"),
        await begun(group_commit, "i5", job="other"),
        await begun(group_commit, job="rowless"),
    ]
    disk.gate.set()
    await asyncio.gather(*tasks)
    assert disk.groups == [["i1"], ["i2", "i3", "i4", "i5"]]
    assert disk.notes == [
        ("one", None), ("one", "i3"), ("one", "i4"), ("other", None), ("other", "i5"), ("rowless", None),
    ]  # fmt: skip


async def test_notes_are_stored_even_without_rows() -> None:
    disk = Disk()
    disk.gate.set()
    group_commit = GroupCommit(disk.store, SerialWriteQueue())
    await (await begun(group_commit))
    assert disk.groups == []
    await (await begun(group_commit, job="one"))
    assert (disk.groups, disk.notes) == ([[]], [("one", None)])

"""The parts of one task run in the calling thread and in idle helpers."""

import threading
import time

import pytest

from diptych.adapters.images.shared_work import SharedWork

PATIENCE_S = 30


def test_every_part_runs_once() -> None:
    done: list[int] = []
    SharedWork("helper", 2).run([lambda i=i: done.append(i) for i in range(100)])  # type: ignore[misc]
    assert sorted(done) == list(range(100))


def test_parts_run_in_parallel() -> None:
    meeting = threading.Barrier(3)
    names: list[str] = []

    def part() -> None:
        meeting.wait(PATIENCE_S)  # nobody passes before all three are here
        names.append(threading.current_thread().name)

    SharedWork("helper", 2).run([part] * 3)
    assert len(set(names)) == 3
    assert threading.current_thread().name in names


def test_work_does_not_wait_for_busy_helpers() -> None:
    work, begun, go_on = SharedWork("helper", 1), threading.Event(), threading.Event()

    def hold() -> None:
        """One part for each thread: the helper stays in its own."""
        if threading.current_thread() is not first:
            begun.set()
            assert go_on.wait(PATIENCE_S)
        else:
            assert begun.wait(PATIENCE_S)

    first = threading.Thread(target=work.run, args=([hold, hold],))
    first.start()
    assert begun.wait(PATIENCE_S)
    done: list[int] = []
    work.run([lambda: done.append(1), lambda: done.append(2)])
    assert done == [1, 2]
    go_on.set()
    first.join(PATIENCE_S)
    assert not first.is_alive()


def test_error_of_a_part_is_raised_once_no_part_runs() -> None:
    begun, ended = threading.Event(), threading.Event()

    def long() -> None:
        begun.set()
        time.sleep(0.05)
        ended.set()

    def fails() -> None:
        assert begun.wait(PATIENCE_S)
        raise ValueError("no")

    done: list[int] = []
    with pytest.raises(ValueError, match="no"):
        SharedWork("helper", 1).run([long, fails, *[lambda: done.append(1)] * 5])
    assert ended.is_set()
    assert done == []  # what nobody waits for any more

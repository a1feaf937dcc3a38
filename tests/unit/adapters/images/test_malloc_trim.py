"""Freed memory goes back to the system: soon, and not more often than that."""

import threading

from diptych.adapters.images.malloc_trim import MallocTrim, give_back


def test_what_is_asked_many_times_is_done_once() -> None:
    done, calls = threading.Event(), []

    def give_back() -> None:
        calls.append(1)
        done.set()

    freed = MallocTrim(after_s=0.1, give_back=give_back)
    for _ in range(100):
        freed.give_back_soon()
    assert done.wait(10)
    assert len(calls) == 1


def test_it_is_done_again_for_what_is_asked_later() -> None:
    done = threading.Semaphore(0)
    freed = MallocTrim(after_s=0.0, give_back=done.release)
    for _ in range(3):
        freed.give_back_soon()
        assert done.acquire(timeout=10)


def test_to_give_back_does_no_harm() -> None:
    held = bytearray(b"kept") * 1000
    give_back()
    assert held == bytearray(b"kept") * 1000

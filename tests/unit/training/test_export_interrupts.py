"""Ctrl-C ends a long command even where a library swallows it."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from diptych_training.export.interrupts import nothing_pressed, noticing_interrupts
from diptych_training.export.progress import watched
from diptych_training.export.stages import Stages


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def swallow_ctrl_c() -> None:
    """As a library does that is interrupted where it cannot let an exception through."""
    try:
        press_ctrl_c()
        threading.Event().wait(5)  # a signal is handled between two steps of Python
    except KeyboardInterrupt:
        return


def test_ctrl_c_interrupts_at_once_and_the_handler_before_is_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), noticing_interrupts():
        press_ctrl_c()
        threading.Event().wait(5)

    assert signal.getsignal(signal.SIGINT) is before


def test_swallowed_ctrl_c_ends_the_stage_it_was_pressed_in() -> None:
    with watched(10, "test") as watcher:
        stages = Stages(watcher)
        with pytest.raises(KeyboardInterrupt), stages.stage("embed"):
            swallow_ctrl_c()

    assert stages.finished == []


def test_swallowed_ctrl_c_ends_at_the_next_progress() -> None:
    with watched(10, "test") as watcher:
        watcher.advance(1)
        swallow_ctrl_c()
        with pytest.raises(KeyboardInterrupt):
            watcher.advance(1)


def test_error_that_a_library_made_of_ctrl_c_is_an_interrupt_still() -> None:
    def broken() -> None:
        swallow_ctrl_c()
        raise RuntimeError("a callback failed")

    with watched(10, "test") as watcher, pytest.raises(KeyboardInterrupt), Stages(watcher).stage("embed"):
        broken()


def test_no_handler_is_installed_in_another_thread() -> None:
    def enter() -> bool:
        with noticing_interrupts() as check:
            return check is nothing_pressed

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(enter).result()

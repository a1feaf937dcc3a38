"""Signals that request the end of a run."""

import os
import signal
from collections.abc import Iterator

import pytest

from diptych_training.train.distributed.interrupt import Interrupt

NUMBERS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture
def former() -> Iterator[list[int]]:
    """The signals that the former handlers received."""
    received: list[int] = []
    before = {number: signal.signal(number, lambda number, _: received.append(number)) for number in NUMBERS}
    yield received
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
def test_the_first_signal_requests_a_stop_and_the_second_reaches_the_former_handler(
    number: signal.Signals, former: list[int]
) -> None:
    with Interrupt() as interrupt:
        os.kill(os.getpid(), number)
        assert interrupt.requested
        assert former == []
        os.kill(os.getpid(), number)
        assert former == [number]


def test_a_signal_during_the_handler_leaves_one_request(
    former: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_back = signal.signal

    def put_back_late(number: int, handler: signal.Handlers) -> object:
        monkeypatch.setattr(signal, "signal", put_back)
        os.kill(os.getpid(), signal.SIGTERM)
        return put_back(number, handler)

    with Interrupt() as interrupt:
        monkeypatch.setattr(signal, "signal", put_back_late)
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.requested
    assert former == []
    os.kill(os.getpid(), signal.SIGTERM)
    assert former == [signal.SIGTERM]

"""Let calls of a GPU run side by side, and a capture by itself. Knows nothing of what is run.

While CUDA captures, memory that another thread takes, copies or frees is an error in that thread and spoils
the capture: onnxruntime captures in the mode that holds for the whole process. Who comes in:

- A call (`beside_others`) runs beside calls and loads. It waits for a capture that runs, and for one that is
  next, but never for two: those that were held up by one go before the next.
- A load (`while_loading`) is a call that takes seconds. It waits for captures that run or wait.
- A capture (`alone`) waits until nothing runs. While a load does, it holds no calls up: they would wait for
  the load. It gives up after `WITHIN_S`, with NoTurn.

So calls wait for the calls that run and one capture. Captures wait for loads that had begun and no others,
and loads for captures, which are of one shape each and as many as shapes. Nobody who is inside comes in a
second time.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

_Error = TypeVar("_Error", bound=BaseException)

WITHIN_S = 30.0  # longer than most loads take, and half of what a batch may take before it counts as stuck


class NoTurn(Exception):
    """What runs on the GPU left no moment for a capture."""


def unheld(error: _Error) -> _Error:
    """The same without its traceback, whose frames hold what is to be freed: to be called at the gate."""
    return error.with_traceback(None)


class GpuGate:
    """Any number of calls and loads at once, or one capture alone."""

    def __init__(self, within_s: float = WITHIN_S) -> None:
        self._within_s = within_s
        self._changed = threading.Condition()
        self._n_calls = 0
        self._n_loads = 0
        self._n_captures = 0  # that wait
        self._n_held_up = 0  # calls that wait
        self._n_before_next = 0  # of these, those that go before the next capture
        self._n_captured = 0  # captures that have ended
        self._is_alone = False

    @contextmanager
    def beside_others(self) -> Iterator[None]:
        """For a call, and for giving memory back."""
        with self._changed:
            self._wait_for_captures()
            self._n_calls += 1
        try:
            yield
        finally:
            with self._changed:
                self._n_calls -= 1
                self._changed.notify_all()

    @contextmanager
    def while_loading(self) -> Iterator[None]:
        """For a call that takes memory for seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_alone and not self._n_captures)
            self._n_loads += 1
        try:
            yield
        finally:
            with self._changed:
                self._n_loads -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """For a capture. Raises NoTurn when it has waited for too long."""
        with self._changed:
            self._wait_for_turn()
            self._is_alone = True
        try:
            yield
        finally:
            with self._changed:
                self._is_alone = False
                self._n_captured += 1
                self._n_before_next = self._n_held_up
                self._changed.notify_all()

    def _wait_for_captures(self) -> None:
        came, self._n_held_up = self._n_captured, self._n_held_up + 1
        try:
            self._changed.wait_for(lambda: not self._is_alone and (self._n_captured > came or self._lets_in))
        finally:
            self._n_held_up -= 1
            if self._n_captured > came:
                self._n_before_next -= 1

    @property
    def _lets_in(self) -> bool:
        return not self._n_captures or self._n_loads > 0

    def _wait_for_turn(self) -> None:
        self._n_captures += 1
        try:
            has_turn = self._changed.wait_for(
                lambda: not (self._is_alone or self._n_calls or self._n_loads or self._n_before_next),
                self._within_s,
            )
        finally:
            self._n_captures -= 1
            self._changed.notify_all()  # of use to those that wait for a capture which has given up
        if not has_turn:
            raise NoTurn(f"the GPU had no moment for a capture within {self._within_s:g} s, {self._busy()}")

    def _busy(self) -> str:
        if self._n_loads:
            return "as something else was being loaded"
        return "as other captures ran" if self._is_alone else f"as {self._n_calls} calls ran on"


GATE = GpuGate()  # one for the process, as CUDA's mode is

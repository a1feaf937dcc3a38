"""Time the stages of the work, for the metrics and for each request, and how long encoders are in use."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token

from diptych.core.ports import Metrics, SearchPart, Stage


class Spans:
    """The times that each stage of one request began and ended; used from one event loop.

    A stage that many items go through in parallel lasts from the first beginning to the last end.
    """

    def __init__(self) -> None:
        self._ends: dict[str, tuple[float, float]] = {}

    def add(self, name: str, began: float, ended: float) -> None:
        """Add a part of a stage; times are those of time.perf_counter()."""
        known = self._ends.get(name)
        self._ends[name] = (began, ended) if known is None else (min(known[0], began), max(known[1], ended))

    def seconds(self) -> dict[str, float]:
        """The duration of each stage, in the order of their first ends."""
        return {name: ended - began for name, (began, ended) in self._ends.items()}


_SPANS: ContextVar[Spans | None] = ContextVar("spans", default=None)


def begin_spans(spans: Spans) -> Token[Spans | None]:
    """Record stages of this task, and of tasks that it starts, in `spans`."""
    return _SPANS.set(spans)


def end_spans(token: Token[Spans | None]) -> None:
    """Undo `begin_spans`."""
    _SPANS.reset(token)


def current_spans() -> Spans | None:
    """The spans of the current request; None outside of one."""
    return _SPANS.get()


def note(name: Stage | SearchPart, began: float, ended: float) -> None:
    """Add a part of a stage to the current request, if there is one."""
    spans = _SPANS.get()
    if spans is not None:
        spans.add(name, began, ended)


@contextmanager
def noted(name: SearchPart) -> Iterator[None]:
    """Add the duration of the block to the current request only, whether or not it raises."""
    began = time.perf_counter()
    try:
        yield
    finally:
        note(name, began, time.perf_counter())


@contextmanager
def stage(metrics: Metrics, name: Stage) -> Iterator[None]:
    """Record how long the block takes, whether or not it raises."""
    began = time.perf_counter()
    try:
        yield
    finally:
        ended = time.perf_counter()
        metrics.observe_stage(name, ended - began)
        note(name, began, ended)


class BusyClock:
    """Adds up the seconds in which at least one user is inside. For one thread."""

    def __init__(self) -> None:
        self._n_users = 0
        self._since = 0.0
        self._total_s = 0.0

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Count the block as one user."""
        if not self._n_users:
            self._since = time.monotonic()
        self._n_users += 1
        try:
            yield
        finally:
            self._n_users -= 1
            if not self._n_users:
                self._total_s += time.monotonic() - self._since

    @property
    def total_s(self) -> float:
        """Seconds in use so far."""
        return self._total_s + (time.monotonic() - self._since if self._n_users else 0.0)

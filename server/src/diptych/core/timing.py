"""Time the stages of the work, for all and for each request; knows nothing of what is done in them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token

from diptych.core.ports import Metrics, Stage


class Spans:
    """From when to when each stage of one request went on; used from one event loop.

    A stage that many items go through side by side lasts from the first beginning to the last end: the time
    that the request spent on it, however many worked on it.
    """

    def __init__(self) -> None:
        self._ends: dict[str, tuple[float, float]] = {}

    def add(self, name: str, began: float, ended: float) -> None:
        """One more part of a stage; times of time.perf_counter()."""
        known = self._ends.get(name)
        self._ends[name] = (began, ended) if known is None else (min(known[0], began), max(known[1], ended))

    def seconds(self) -> dict[str, float]:
        """How long each stage took, in the order of their first ends."""
        return {name: ended - began for name, (began, ended) in self._ends.items()}


_SPANS: ContextVar[Spans | None] = ContextVar("spans", default=None)


def begin_spans(spans: Spans) -> Token[Spans | None]:
    """What is timed from here on, by this task and those that it starts, is of one request."""
    return _SPANS.set(spans)


def end_spans(token: Token[Spans | None]) -> None:
    """Back to what was before."""
    _SPANS.reset(token)


def current_spans() -> Spans | None:
    """Those of the request that is worked on here; None outside of one."""
    return _SPANS.get()


def note(name: Stage, began: float, ended: float) -> None:
    """One more part of a stage of the current request, if there is one."""
    spans = _SPANS.get()
    if spans is not None:
        spans.add(name, began, ended)


@contextmanager
def stage(metrics: Metrics, name: Stage) -> Iterator[None]:
    """Report how long the block took, whether or not it raised."""
    began = time.perf_counter()
    try:
        yield
    finally:
        ended = time.perf_counter()
        metrics.observe_stage(name, ended - began)
        note(name, began, ended)

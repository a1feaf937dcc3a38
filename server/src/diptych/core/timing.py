"""Time one stage; knows nothing of what is done in it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from diptych.core.ports import Metrics, Stage


@contextmanager
def stage(metrics: Metrics, name: Stage) -> Iterator[None]:
    """Report how long the block took, whether or not it raised."""
    began = time.perf_counter()
    try:
        yield
    finally:
        metrics.observe_stage(name, time.perf_counter() - began)

"""How fast graphs run on this machine, measured in turns; knows nothing of quantising."""

import time
from collections.abc import Sequence

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from diptych_training.export.int8.model_file import run

BUDGET_S = 8.0
MAX_ROUNDS = 20
BATCH = 8


def items_per_s(sessions: Sequence[ort.InferenceSession], items: NDArray[np.generic]) -> list[float]:
    """The best pace of each on up to `BATCH` of the items.

    They take turns, and the best is taken, not the mean: what a busy machine adds to a time is no part of the
    graph.
    """
    batch = items[:BATCH]
    best = [np.inf] * len(sessions)
    for session in sessions:
        run(session, batch)
    end = time.monotonic() + BUDGET_S
    for _ in range(MAX_ROUNDS):
        for at, session in enumerate(sessions):
            start = time.perf_counter()
            run(session, batch)
            best[at] = min(best[at], time.perf_counter() - start)
        if time.monotonic() > end:
            break
    return [len(batch) / seconds for seconds in best]

"""Time a call that ends when its answer is on the host; knows nothing of what it does."""

import time
from collections.abc import Callable

N_WARM = 3
MIN_CALLS = 3


def calls_per_s(call: Callable[[], object], seconds: float) -> float:
    """Over at least `seconds`, once it is warm."""
    for _ in range(N_WARM):
        call()
    n_calls, began = 0, time.perf_counter()
    while True:
        call()
        n_calls += 1
        took = time.perf_counter() - began
        if took >= seconds and n_calls >= MIN_CALLS:
            return n_calls / took

"""Whether work had the cores to itself while it was timed; knows nothing of the work."""

import math
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

MIN_SHARE = 0.75  # two threads beside one that never rests get two thirds of two cores

Clock = Callable[[], float]


class CoresHad:
    """The share of `n_cores` that this process had, from its processor time over the time that passed.

    For work of as many threads that run, or wait for each other by spinning, all the while.
    """

    def __init__(
        self, n_cores: float, *, cpu: Clock = time.process_time, wall: Clock = time.perf_counter
    ) -> None:
        self._n_cores = n_cores
        self._cpu = cpu
        self._wall = wall
        self._seconds: dict[Hashable, tuple[float, float]] = {}  # processor time and wall time of each work

    @contextmanager
    def during(self, work: Hashable) -> Iterator[None]:
        """Take the time of the block for one more run of `work`."""
        cpu_began, wall_began = self._cpu(), self._wall()
        yield
        cpu_s, wall_s = self._seconds.get(work, (0.0, 0.0))
        self._seconds[work] = cpu_s + self._cpu() - cpu_began, wall_s + self._wall() - wall_began

    @property
    def share(self) -> float:
        """Of the work that had the most: one that leaves cores idle by itself says nothing of others."""
        cores = [cpu_s / wall_s for cpu_s, wall_s in self._seconds.values() if wall_s > 0]
        return max(cores, default=math.inf) / self._n_cores

    @property
    def were_ours(self) -> bool:
        """Whether nobody else took more of them than a machine at rest does."""
        return self.share >= MIN_SHARE

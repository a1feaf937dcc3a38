from collections.abc import Sequence

import pytest

from diptych.core.cores import CoresHad


class Machine:
    """Two clocks that go on as told."""

    def __init__(self) -> None:
        self.cpu_s = self.wall_s = 100.0

    def had(self, n_cores: float, runs: Sequence[tuple[str, float, float]]) -> CoresHad:
        """After runs of (work, processor time, wall time)."""
        had = CoresHad(n_cores, cpu=lambda: self.cpu_s, wall=lambda: self.wall_s)
        for work, cpu_s, wall_s in runs:
            with had.during(work):
                self.cpu_s += cpu_s
                self.wall_s += wall_s
        return had


@pytest.mark.parametrize(
    ("n_cores", "runs", "were_ours"),
    [
        (2, [("a", 1.9, 1.0)], True),
        (2, [("a", 1.33, 1.0)], False),  # beside one thread that never rests
        (2, [("a", 1.0, 1.0)], False),
        (16, [("a", 15.0, 1.0)], True),
        (1.5, [("a", 1.45, 1.0)], True),  # the quota of a container
        (2, [("a", 0.8, 1.0), ("b", 1.9, 1.0)], True),  # a may leave a core idle by itself
        (2, [("a", 2.0, 1.0), ("a", 0.6, 1.0), ("b", 1.2, 1.0)], False),  # one lucky run of several
        (2, [], True),
    ],
)
def test_cores_were_ours_when_the_work_that_had_the_most_had_nearly_all(
    n_cores: float, runs: list[tuple[str, float, float]], were_ours: bool
) -> None:
    assert Machine().had(n_cores, runs).were_ours is were_ours

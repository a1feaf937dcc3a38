"""The number of threads that resize a single picture."""

import pytest

from diptych.settings import read_settings
from diptych.wiring.tuning import planning
from diptych.wiring.tuning.planning import MAX_RESIZE_THREADS, resize_threads


@pytest.mark.parametrize(
    ("n_cpus", "settings", "n_threads"),
    [
        (1, {}, 1),
        (2, {}, 2),
        (64, {}, MAX_RESIZE_THREADS),
        (64, {"n_threads": 3}, 3),
    ],
)
def test_resize_threads_are_limited_by_cores_and_settings(
    n_cpus: int, settings: dict[str, int], n_threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "n_cpus", lambda: n_cpus)
    assert resize_threads(read_settings(settings)) == n_threads

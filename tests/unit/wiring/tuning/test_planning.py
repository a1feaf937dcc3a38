"""How many threads resize a picture, and how many pixels may be decoded at once."""

import pytest

from diptych.core.tuning.execution_layout import Plan
from diptych.core.tuning.precision import CPU_PROVIDER, CUDA_PROVIDER
from diptych.settings import read_settings
from diptych.wiring.tuning import planning
from diptych.wiring.tuning.planning import MAX_RESIZE_THREADS, PHOTOGRAPH_PX, max_decoded_px, resize_threads


def plan(n_decode_threads: int) -> Plan:
    return Plan(n_lanes=1, image_batch_size=64, text_batch_size=64, n_decode_threads=n_decode_threads)


def test_many_threads_on_a_cpu_need_no_more_memory_than_one() -> None:
    settings = read_settings({})
    assert max_decoded_px(settings, plan(64), CPU_PROVIDER) == settings.max_image_px


def test_with_a_gpu_every_thread_may_decode_a_photograph() -> None:
    settings = read_settings({})
    assert max_decoded_px(settings, plan(16), CUDA_PROVIDER) == 16 * PHOTOGRAPH_PX
    assert max_decoded_px(settings, plan(2), CUDA_PROVIDER) == settings.max_image_px


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

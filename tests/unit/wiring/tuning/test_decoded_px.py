"""How many pixels may be decoded at once, by device and threads."""

from diptych.core.tuning.execution_layout import Plan
from diptych.core.tuning.precision import CPU_PROVIDER, CUDA_PROVIDER
from diptych.settings import read_settings
from diptych.wiring.tuning.planning import PHOTOGRAPH_PX, max_decoded_px


def plan(n_decode_threads: int) -> Plan:
    return Plan(n_lanes=1, image_batch_size=64, text_batch_size=64, n_decode_threads=n_decode_threads)


def test_many_threads_on_a_cpu_need_no_more_memory_than_one() -> None:
    settings = read_settings({})
    assert max_decoded_px(settings, plan(64), CPU_PROVIDER) == settings.max_image_px


def test_with_a_gpu_every_thread_may_decode_a_photograph() -> None:
    settings = read_settings({})
    assert max_decoded_px(settings, plan(16), CUDA_PROVIDER) == 16 * PHOTOGRAPH_PX
    assert max_decoded_px(settings, plan(2), CUDA_PROVIDER) == settings.max_image_px

import pytest

from diptych.core.concurrency.admission import Admission
from diptych.errors import Overloaded


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def pass_through(admission: Admission, clock: Clock, n_items: int, seconds: float) -> None:
    with admission.hold(n_items, 0):
        clock.now_s += seconds


def retry_after_s(admission: Admission) -> float:
    with pytest.raises(Overloaded) as refused:
        admission.hold(1, 1).__enter__()
    return refused.value.retry_after_s


def test_room_comes_back_when_the_block_raises() -> None:
    admission = Admission(max_items=2, max_bytes=10)
    with pytest.raises(ValueError, match="inside"), admission.hold(2, 10):
        raise ValueError("inside")
    with admission.hold(2, 10):
        assert (admission.n_items, admission.n_bytes) == (2, 10)


def test_retry_time_follows_the_measured_speed() -> None:
    clock = Clock()
    admission = Admission(max_items=11, max_bytes=100, clock=clock)
    with admission.hold(10, 0):
        for _ in range(100):
            pass_through(admission, clock, 1, 2.0)
        with admission.hold(1, 0):
            assert retry_after_s(admission) == pytest.approx(22, abs=1)
        for _ in range(100):
            pass_through(admission, clock, 1, 0.001)
        with admission.hold(1, 0):
            assert retry_after_s(admission) == 1


def test_small_requests_that_overtake_a_large_one_do_not_make_it_look_fast() -> None:
    clock = Clock()
    admission = Admission(max_items=1000, max_bytes=100, clock=clock)
    large = admission.hold(999, 0)
    large.__enter__()
    for _ in range(100):
        pass_through(admission, clock, 1, 0.1)  # ten a second, each past those 999
    with admission.hold(1, 0):
        assert retry_after_s(admission) == 60  # 100 s in truth; never more than a minute is asked for
    large.__exit__(None, None, None)


def test_idle_time_is_no_work() -> None:
    clock = Clock()
    admission = Admission(max_items=10, max_bytes=100, clock=clock)
    for _ in range(100):
        clock.now_s += 1000
        pass_through(admission, clock, 1, 0.01)
    with admission.hold(10, 0):
        assert retry_after_s(admission) == 1


def test_failed_work_does_not_change_the_throughput() -> None:
    clock = Clock()
    admission = Admission(max_items=10, max_bytes=100, clock=clock)
    for _ in range(100):
        pass_through(admission, clock, 1, 1.0)
    for _ in range(100):
        with pytest.raises(ValueError, match="gone"), admission.hold(1, 0):
            raise ValueError("gone")
    with admission.hold(10, 0):
        assert retry_after_s(admission) == pytest.approx(10, abs=1)

import pytest

from diptych.core.admission import Admission
from diptych.errors import Overloaded


def test_room_comes_back_when_the_block_raises() -> None:
    admission = Admission(max_items=2, max_bytes=10)
    with pytest.raises(ValueError, match="inside"), admission.hold(2, 10):
        raise ValueError("inside")
    with admission.hold(2, 10):
        assert (admission.n_items, admission.n_bytes) == (2, 10)


def test_retry_time_follows_the_measured_speed() -> None:
    admission = Admission(max_items=10, max_bytes=100)
    with admission.hold(10, 10):
        for _ in range(100):
            admission.measured(1, 2.0)
        with pytest.raises(Overloaded) as slow:
            admission.hold(1, 1).__enter__()
        for _ in range(100):
            admission.measured(100, 0.1)
        with pytest.raises(Overloaded) as fast:
            admission.hold(1, 1).__enter__()
    assert slow.value.retry_after_s == pytest.approx(20, abs=1)
    assert fast.value.retry_after_s == 1

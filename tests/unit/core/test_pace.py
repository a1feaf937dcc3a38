from typing import Any

import numpy as np
import pytest

from diptych.core.pace import MAX_ROUNDS, MIN_ROUNDS, measure_pace

PIXELS = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1)
INPUT_IDS = np.arange(2, dtype=np.int32).reshape(2, 1)


class Clock:
    """Stands still unless an encoder works."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class TimedEncoder:
    """Takes so many seconds per item; remembers its batches."""

    def __init__(self, clock: Clock, image_s: float, text_s: float, first_s: float = 0.0) -> None:
        self._clock, self._image_s, self._text_s, self._first_s = clock, image_s, text_s, first_s
        self.batches: list[list[int]] = []

    def encode_image(self, pixels: Any) -> Any:
        return self._work(pixels, self._image_s)

    def encode_text(self, input_ids: Any) -> Any:
        return self._work(input_ids, self._text_s)

    def _work(self, items: Any, seconds: float) -> Any:
        self._clock.now_s += len(items) * seconds + self._first_s
        self._first_s = 0.0
        self.batches.append(items.ravel().tolist())
        return items


def measured(clock: Clock, max_batch_size: int = 16, **encoders: TimedEncoder) -> Any:
    return measure_pace(encoders, PIXELS, INPUT_IDS, max_batch_size=max_batch_size, clock=clock)


def test_pace_is_the_time_of_one_item_whatever_the_first_call_costs() -> None:
    clock = Clock()
    paces = measured(
        clock, fp32=TimedEncoder(clock, 0.010, 0.002, first_s=3.0), int8=TimedEncoder(clock, 0.004, 0.001)
    )
    assert (paces["fp32"].image_ms, paces["fp32"].text_ms) == pytest.approx((10, 2))
    assert (paces["int8"].image_ms, paces["int8"].text_ms) == pytest.approx((4, 1))


def test_all_run_in_turn_on_the_same_batches() -> None:
    clock = Clock()
    one, other = TimedEncoder(clock, 0.010, 0.002), TimedEncoder(clock, 0.004, 0.001)
    measured(clock, max_batch_size=4, one=one, other=other)
    assert one.batches == other.batches
    assert one.batches[:3] == [[0], [0], [0, 1, 2, 0]]
    assert one.batches[-1] == [0, 1, 0, 1]
    assert len(one.batches) == 2 * (2 + MAX_ROUNDS)


def test_slow_encoders_get_small_batches_and_few_rounds() -> None:
    clock = Clock()
    slow = TimedEncoder(clock, 30.0, 0.001)
    measured(clock, slow=slow)
    n_images = 2 + MIN_ROUNDS
    assert slow.batches[:n_images] == [[0]] * n_images
    assert len(slow.batches[n_images + 2]) == 16  # the texts are quick
    assert clock.now_s == pytest.approx(n_images * 30, abs=1)

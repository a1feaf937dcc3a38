"""Ranges and rounding of int8."""

import numpy as np
import pytest

from diptych_training.export.int8 import scales as int8_scales
from diptych_training.export.int8.scales import (
    best_scale,
    quantised_columns,
    quantised_kernels,
    quantised_rows,
    scale_of_range,
    weight_steps,
)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(("lowest", "highest"), [(-1.0, 3.0), (0.0, 6.0), (2.0, 5.0), (-7.0, -1.0)])
def test_zero_is_exact_in_every_range(lowest: float, highest: float) -> None:
    scale = scale_of_range(lowest, highest)
    assert scale.round_trip(np.zeros(1, np.float32))[0] == 0
    ends = np.array([min(lowest, 0), max(highest, 0)], np.float32)
    assert np.abs(scale.round_trip(ends) - ends).max() <= scale.scale


@pytest.mark.parametrize(("lowest", "highest"), [(-1.0, 1.0), (-1.0, 3.0), (-7.0, 0.5)])
def test_no_end_of_a_range_is_cut(lowest: float, highest: float) -> None:
    scale = scale_of_range(lowest, highest)
    ends = np.array([lowest, highest], np.float32)
    errors = np.abs(scale.round_trip(ends) - ends)
    assert errors.min() < 1e-6
    assert errors.max() < 0.501 * scale.scale


def test_white_and_black_pixels_are_exact() -> None:
    pixels = np.array([-1, 0, 1], np.float32)
    assert scale_of_range(-1.0, 1.0).round_trip(pixels) == pytest.approx(pixels, abs=1e-6)


def test_a_relu_begins_at_code_zero_so_that_rounding_cuts_negatives() -> None:
    assert scale_of_range(0.0, 4.0).zero == 0
    assert scale_of_range(0.5, 4.0).round_trip(np.array([-3.0], np.float32))[0] == 0


def test_a_tensor_of_zeros_has_a_usable_scale() -> None:
    assert scale_of_range(0.0, 0.0).round_trip(np.zeros(3, np.float32)).tolist() == [0, 0, 0]


def test_one_far_outlier_does_not_take_the_codes_of_the_others() -> None:
    sample = np.append(normal(100_000), np.float32(30))
    scale = best_scale(float(sample.min()), float(sample.max()), sample)
    assert scale.scale < 0.9 * scale_of_range(float(sample.min()), float(sample.max())).scale


def test_without_outliers_hardly_anything_is_cut() -> None:
    sample = np.random.default_rng(0).uniform(-1, 1, 10_000).astype(np.float32)
    scale = best_scale(-1.0, 1.0, sample)
    assert np.abs(scale.round_trip(sample) - sample).max() <= scale.scale


@pytest.mark.parametrize("gain", [1e-30, 1.0, 1e6])
def test_each_column_and_row_keeps_its_own_precision(gain: float) -> None:
    weight = normal(40, 6) * np.array([gain, 1, 1, 0, 1, 1e-3], np.float32)
    codes, scales = quantised_columns(weight)
    assert (np.abs(codes * scales - weight) <= 0.5001 * scales).all()
    codes, scales = quantised_rows(np.ascontiguousarray(weight.T))
    assert (np.abs(codes * scales - weight.T) <= 0.5001 * scales).all()


def test_the_bias_of_a_dead_kernel_stays_in_int32() -> None:
    kernels = np.stack([normal(3, 3, 3), np.full((3, 3, 3), 1e-12, np.float32)])
    bias = np.array([0.5, 7.0], np.float32)
    codes, scales, whole = quantised_kernels(kernels, bias, input_scale=0.01)
    assert whole is not None
    assert codes.dtype == np.int8
    step = 0.01 * scales.astype(np.float64)
    assert (np.abs(whole * step - bias) <= 0.5001 * step).all()


def test_weights_of_seven_bits_never_leave_sixteen_in_a_sum_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8_scales, "may_saturate", lambda: True)
    codes, _ = quantised_columns(normal(40, 6))
    kernels, _, _ = quantised_kernels(normal(4, 3, 3, 3), None, 0.01)
    largest = max(np.abs(codes.astype(int)).max(), np.abs(kernels.astype(int)).max())
    assert largest == weight_steps() == 64
    assert np.iinfo(np.int16).max >= 2 * 255 * largest
    tables, _ = quantised_rows(normal(6, 40))
    assert np.abs(tables.astype(int)).max() == 127  # gathered, and multiplied as floats

"""Ranges and rounding of int8."""

import numpy as np
import pytest

from diptych_training.errors import ExportError
from diptych_training.export.int8 import scales as int8_scales
from diptych_training.export.int8.layers import Form
from diptych_training.export.int8.scales import (
    quantised_columns,
    quantised_kernels,
    quantised_rows,
    scale_of_range,
    weight_steps,
)
from diptych_training.export.int8.search import TARGET, LayerForms, Search


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(("lowest", "highest"), [(-1.0, 1.0), (-1.0, 3.0), (-7.0, 0.5)])
def test_no_end_of_a_range_is_cut(lowest: float, highest: float) -> None:
    scale = scale_of_range(lowest, highest)
    ends = np.array([lowest, highest], np.float32)
    errors = np.abs(scale.round_trip(ends) - ends)
    assert errors.min() < 1e-6
    assert errors.max() < 0.501 * scale.scale


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


LADDER: tuple[Form, ...] = ("static", "rows", "float")


class Model:
    """Each layer costs its own cosine while it is static, a share of that in rows, and nothing in float."""

    def __init__(self, harm: dict[str, float], rows_share: float = 0.1, floor: float = 0.0) -> None:
        self.harm, self.rows_share, self.floor = harm, rows_share, floor
        self.lines: list[str] = []

    def cosine(self, plan: LayerForms) -> float:
        share = {"static": 1.0, "rows": self.rows_share, "float": 0.0}
        return 1 - self.floor - sum(self.harm[name] * share[form] for name, form in plan.items())

    def search(self) -> Search:
        forms_by_layer = dict.fromkeys(self.harm, LADDER)
        return Search(forms_by_layer, self.cosine, self.cosine, self.lines.append)


def test_harmless_layers_all_stay_static_after_one_try() -> None:
    found = Model({f"layer{i}": 1e-5 for i in range(50)}).search().run()
    assert set(found.plan.values()) == {"static"}
    assert len(found.tries) == 1


def test_only_the_layers_that_break_the_bound_move() -> None:
    harm = {f"layer{i}": 1e-5 for i in range(50)} | {"layer7": 0.2, "layer31": 0.1}
    model = Model(harm, rows_share=0.001)
    found = model.search().run()
    assert {name for name, form in found.plan.items() if form != "static"} == {"layer7", "layer31"}
    assert found.plan["layer7"] == "rows"
    assert found.cosine >= TARGET
    assert any("cosine" in line for line in model.lines)


def test_a_float_graph_that_does_not_follow_the_reference_is_an_error() -> None:
    with pytest.raises(ExportError, match="float32 graph itself"):
        Model({"a": 0.1}, floor=0.2).search().run()

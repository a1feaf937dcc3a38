"""Rows that are as long as a way of the first cache get a line more, and the answers stay."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator

from diptych_training.export.optimise.widths import wider_rows
from support.small_graphs import Arrays, random_weights, small_graph

FEED_FORWARD = """
    product = MatMul (x, into)
    wide = Add (product, into_bias)
    gate = Sigmoid (wide)
    gated = Mul (wide, gate)
    back = MatMul (gated, out)
    y = Add (back, out_bias)
"""
GEMMS = """
    wide = Gemm (x, into, into_bias)
    gate = Sigmoid (wide)
    gated = Mul (wide, gate)
    y = Gemm (gated, out, out_bias)
"""
BY_ERF = """
    product = MatMul (x, into)
    wide = Add (into_bias, product)
    scaled = Div (wide, factor)
    erf = Erf (scaled)
    half = Mul (wide, factor)
    gated = Mul (half, erf)
    y = MatMul (gated, out)
"""


def weights(width: int = 1024) -> Arrays:
    return (
        random_weights(into=(8, width), out=(width, 6))
        | random_weights(1, into_bias=(width,), out_bias=(6,), scales=(width,))
        | {"factor": np.float32(1.5)}
    )


def model_of(text: str, *changes: tuple[str, str], width: int = 1024, also: str = "") -> ModelProto:
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return small_graph(f"g (float[N,8] x) => (float[N,6] y{also}) {{ {text} }}", weights(width))


def rewritten(model: ModelProto) -> tuple[ModelProto, int]:
    changed = ModelProto()
    changed.CopyFrom(model)
    n_wider = wider_rows(changed.graph)
    onnx.checker.check_model(changed, full_check=True)
    return changed, n_wider


def answer(model: ModelProto) -> NDArray[np.float32]:
    x = np.random.default_rng(1).standard_normal((3, 8)).astype(np.float32)
    return np.asarray(ReferenceEvaluator(model).run(None, {"x": x})[0])


@pytest.mark.parametrize("text", [FEED_FORWARD, GEMMS, BY_ERF])
@pytest.mark.parametrize("width", [1024, 3072])
def test_rows_of_a_multiple_of_a_page_get_a_line_more(text: str, width: int) -> None:
    model = model_of(text, width=width)
    changed, n_wider = rewritten(model)
    assert n_wider == 1
    shapes = sorted(tuple(tensor.dims) for tensor in changed.graph.initializer if len(tensor.dims) == 2)
    assert shapes == [(8, width + 16), (width + 16, 6)]
    np.testing.assert_allclose(answer(changed), answer(model), rtol=1e-6, atol=1e-6)


def test_weights_that_others_read_too_stay_as_they_are_for_them() -> None:
    twice = (
        "y = Gemm (gated, out, out_bias)",
        "first = Gemm (gated, out, out_bias)\n sums = Gemm (x, into, into_bias)",
    )
    model = model_of(GEMMS, twice, ("first =", "y ="), also=", float[N,1024] sums")
    changed, n_wider = rewritten(model)
    assert n_wider == 1
    shapes = sorted(tuple(tensor.dims) for tensor in changed.graph.initializer if len(tensor.dims) == 2)
    assert shapes == [(8, 1024), (8, 1040), (1040, 6)]
    np.testing.assert_allclose(answer(changed), answer(model), rtol=1e-6, atol=1e-6)


def test_a_scale_of_each_column_grows_too() -> None:
    model = model_of(GEMMS, ("y = Gemm (gated", "scaled = Mul (gated, scales)\n y = Gemm (scaled"))
    changed, n_wider = rewritten(model)
    assert n_wider == 1
    np.testing.assert_allclose(answer(changed), answer(model), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "model",
    [
        model_of(GEMMS, width=1000),  # rows begin in different sets
        model_of(GEMMS, also=", float[N,1024] gated"),  # an answer itself
        model_of(GEMMS, ("gate = Sigmoid (wide)", "gate = Softmax (wide)")),  # would see the columns
        model_of(GEMMS, ("Mul (wide, gate)", "Div (wide, scales)")),  # zero by zero
        model_of(GEMMS, ("Mul (wide, gate)", "Div (wide, gate)")),
        model_of(
            GEMMS, ("gated = Mul (wide, gate)", "turned = Transpose (wide)\n gated = Transpose (turned)")
        ),
    ],
)
def test_others_stay(model: ModelProto) -> None:
    changed, n_wider = rewritten(model)
    assert n_wider == 0
    assert changed == model

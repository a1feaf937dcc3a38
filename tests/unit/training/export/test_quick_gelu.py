"""The factor leaves QuickGELU for the weights around it, and the answers stay."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from diptych_training.export.onnx.graph import Graph
from diptych_training.export.rewrites import quick_gelu_as_silu
from support.small_graphs import Arrays, random_weights, small_graph

FEED_FORWARD = """
    product = MatMul (x, into)
    wide = Add (product, into_bias)
    scaled = Mul (wide, factor)
    gate = Sigmoid (scaled)
    gated = Mul (wide, gate)
    y = MatMul (gated, back)
"""


def feed_forward(*changes: tuple[str, str], also: str = "") -> str:
    text = FEED_FORWARD
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return f"g (float[B,5,8] x) => (float[B,5,8] y{also}) {{ {text} }}"


def weights(factor: float = 1.702) -> Arrays:
    drawn = random_weights(into=(8, 32), back=(32, 8)) | random_weights(1, into_bias=(32,))
    return drawn | {"factor": np.float32(factor)}


def tokens() -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal((3, 5, 8)).astype(np.float32)


@pytest.mark.parametrize(
    "changes",
    [
        [],
        [("Add (product, into_bias)", "Add (into_bias, product)")],
        [("Mul (wide, factor)", "Mul (factor, wide)"), ("Mul (wide, gate)", "Mul (gate, wide)")],
    ],
)
def test_the_factor_is_gone_and_the_rows_are_the_same(changes: list[tuple[str, str]]) -> None:
    model = small_graph(feed_forward(*changes), weights())
    changed = quick_gelu_as_silu(Graph(model))
    assert changed is not None
    onnx.checker.check_model(changed, full_check=True)
    assert [node.op_type for node in changed.graph.node] == ["MatMul", "Add", "Sigmoid", "Mul", "MatMul"]
    assert {tensor.name for tensor in changed.graph.initializer} == {"into", "into_bias", "back"}
    expected = ReferenceEvaluator(model).run(None, {"x": tokens()})[0]
    found = ReferenceEvaluator(changed).run(None, {"x": tokens()})[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "also"),
    [
        ([], ", float[B,5,32] wide"),  # read by others
        ([], ", float[B,5,32] gated"),
        (
            [("y = MatMul (gated, back)", "y = MatMul (gated, back)\n e = MatMul (x, into)")],
            ", float[B,5,32] e",
        ),
        (
            [
                ("product =", "made = Mul (back, factor)\n product ="),
                ("MatMul (gated, back)", "MatMul (gated, made)"),
            ],
            "",
        ),
        ([("Mul (wide, gate)", "Mul (product, gate)")], ""),  # another gate
        ([("y = MatMul (gated, back)", "m = MatMul (gated, back)\n y = Tanh (m)\n z = Tanh (gated)")], ""),
        ([("wide = Add (product, into_bias)", "wide = Add (product, product)")], ""),
    ],
)
def test_what_others_read_or_computes_something_else_stays(changes: list[tuple[str, str]], also: str) -> None:
    model = small_graph(feed_forward(*changes, also=also), weights())
    assert quick_gelu_as_silu(Graph(model)) is None

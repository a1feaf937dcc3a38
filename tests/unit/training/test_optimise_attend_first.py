"""Letting only the pooled token ask in the last attention changes the amount of work and nothing else."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator

from diptych_training.export.optimise.attend_first import attend_first
from support.small_graphs import Arrays, random_weights, small_graph

LENGTH, WIDTH = 5, 8
ATTENTION = """
    n = LayerNormalization (x, gain, gain)
    q = MatMul (n, ask)
    qb = Add (q, gain)
    q4 = Reshape (qb, heads)
    qt = Transpose <perm = [0, 2, 1, 3]> (q4)
    k = MatMul (n, key)
    k4 = Reshape (k, heads)
    kt = Transpose <perm = [0, 2, 3, 1]> (k4)
    v = MatMul (n, value)
    v4 = Reshape (v, heads)
    vt = Transpose <perm = [0, 2, 1, 3]> (v4)
    logits = MatMul (qt, kt)
    scaled = Mul (logits, scale)
    shares = Softmax <axis = AXIS> (scaled)
    sums = MatMul (shares, vt)
    joined = Transpose <perm = [0, 2, 1, 3]> (sums)
    rows = Reshape (joined, tokens)
"""


def tower(pooling: str = "y = Gather <axis = 1> (rows, place)", axis: int = -1, also: str = "") -> str:
    attention = ATTENTION.replace("AXIS", str(axis))
    return f"g (float[B,5,8] x) => (float[B,8] y{also}) {{ {attention} {pooling} }}"


def weights() -> Arrays:
    square = (WIDTH, WIDTH)
    drawn = random_weights(ask=square, key=square, value=square, gain=(WIDTH,))
    return drawn | {
        "scale": np.float32(0.5),
        "heads": np.array([-1, LENGTH, 2, 4]),
        "tokens": np.array([-1, LENGTH, WIDTH]),
        "place": np.array(3),
        "axis": np.array([1]),
    }


def tokens() -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal((3, LENGTH, WIDTH)).astype(np.float32)


def rewritten(model: ModelProto) -> tuple[ModelProto, int]:
    changed = ModelProto()
    changed.CopyFrom(model)
    n_products = attend_first(changed.graph)
    onnx.checker.check_model(changed, full_check=True)
    return changed, n_products


def sizes(model: ModelProto) -> dict[str, list[int]]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    return {
        port.name: [one.dim_value for one in port.type.tensor_type.shape.dim] for port in graph.value_info
    }


@pytest.mark.parametrize("place", [0, 3])
def test_only_the_pooled_token_asks(place: int) -> None:
    model = small_graph(tower(), weights() | {"place": np.array(place)})
    changed, n_products = rewritten(model)
    assert n_products == 3
    assert sizes(model)["q"][1:] == [LENGTH, WIDTH]
    assert sizes(changed)["q"][1:] == [1, WIDTH]
    assert sizes(changed)["v"][1:] == [LENGTH, WIDTH]
    expected = ReferenceEvaluator(model).run(None, {"x": tokens()})[0]
    found = ReferenceEvaluator(changed).run(None, {"x": tokens()})[0]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_index_that_keeps_the_axis_keeps_it() -> None:
    text = tower().replace("(float[B,8] y)", "(float[B,1,8] y)")
    model = small_graph(text, weights() | {"place": np.array([3])})
    changed, n_products = rewritten(model)
    assert n_products == 3
    expected = ReferenceEvaluator(model).run(None, {"x": tokens()})[0]
    found = ReferenceEvaluator(changed).run(None, {"x": tokens()})[0]
    assert found.shape == expected.shape == (3, 1, WIDTH)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        tower("y = ReduceMean <keepdims = 0> (rows, axis)"),
        tower(axis=2),
        tower(also=", float[B,5,8] rows"),
    ],
    ids=["mean of all tokens", "softmax over those that ask", "all rows are an output"],
)
def test_tower_whose_rows_are_all_needed_is_left_as_it_is(text: str) -> None:
    model = small_graph(text, weights())
    changed, n_products = rewritten(model)
    if "axis = 2" in text:
        assert n_products == 1  # the sum of the values alone
    else:
        assert n_products == 0
        assert changed == model

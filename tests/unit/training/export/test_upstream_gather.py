"""Moving a pooling in front of per-token work changes the amount of work and nothing else."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator

from diptych_training.export.onnx.graph import Graph
from diptych_training.export.rewrites import upstream_gather
from support.small_graphs import Arrays, random_weights, small_graph

WIDTH = 8
BLOCK = """
    a = MatMul (x, mix)
    b = Add (a, bias)
    h = Add (x, b)
    n = LayerNormalization <axis = 2> (h, gain, bias)
    up = MatMul (n, wide)
    s = Sigmoid (up)
    active = Mul (up, s)
    down = MatMul (active, narrow)
    z = Add (h, down)
"""
CLASS_TOKEN = f"""g (float[B,L,8] x) => (float[B,8] y) {{
    {BLOCK}
    y = Gather <axis = 1> (z, first)
}}"""
END_OF_TEXT = f"""g (float[B,L,8] x, int64[B,2] place) => (float[B,8] y) {{
    {BLOCK}
    last = LayerNormalization (z, gain, bias)
    y = GatherND (last, place)
}}"""
EVERY_TOKEN_NEEDED = f"""g (float[B,L,8] x) => (float[B,8] y) {{
    {BLOCK}
    row = Gather <axis = 1> (z, first)
    mean = ReduceMean <keepdims = 0> (z, axis)
    y = Add (row, mean)
}}"""


def weights() -> Arrays:
    drawn = random_weights(mix=(8, 8), bias=(8,), gain=(8,), wide=(8, 32), narrow=(32, 8))
    return drawn | {"first": np.array(0), "axis": np.array([1])}


def tokens(batch: int = 3, length: int = 5) -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal((batch, length, WIDTH)).astype(np.float32)


def rewritten(model: ModelProto) -> ModelProto:
    changed = upstream_gather(Graph(model))
    assert changed is not None
    onnx.checker.check_model(changed, full_check=True)
    return changed


def assert_same_rows(model: ModelProto, changed: ModelProto, **inputs: NDArray[np.generic]) -> None:
    expected, found = (ReferenceEvaluator(one).run(None, inputs)[0] for one in (model, changed))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def product_ranks(model: ModelProto) -> list[int]:
    inferred = onnx.shape_inference.infer_shapes(model).graph
    ports = (*inferred.value_info, *inferred.output)
    ranks = {port.name: len(port.type.tensor_type.shape.dim) for port in ports}
    return [ranks[node.output[0]] for node in inferred.node if node.op_type == "MatMul"]


def test_class_token_is_taken_before_the_last_blocks_products() -> None:
    model = small_graph(CLASS_TOKEN, weights())
    changed = rewritten(model)
    assert product_ranks(model) == [3, 3, 3]
    assert product_ranks(changed) == [2, 2, 2]
    assert_same_rows(model, changed, x=tokens())


@pytest.mark.parametrize("place", [[0, 4, 2], [1, 1, 1]])
def test_end_of_text_token_is_taken_before_the_last_blocks_products(place: list[int]) -> None:
    model = small_graph(END_OF_TEXT, weights())
    changed = rewritten(model)
    assert product_ranks(changed) == [2, 2, 2]
    assert_same_rows(model, changed, x=tokens(), place=np.stack([np.arange(3), place], axis=1))


def test_tower_that_needs_every_token_is_left_as_it_is() -> None:
    model = small_graph(EVERY_TOKEN_NEEDED, weights())
    assert upstream_gather(Graph(model)) is None


def test_sum_with_a_weight_for_each_token_does_not_move() -> None:
    text = """g (float[B,5,8] x) => (float[B,8] y) {
        placed = Add (x, positions)
        out = MatMul (placed, mix)
        y = Gather <axis = 1> (out, first)
    }"""
    model = small_graph(text, weights() | random_weights(positions=(5, 8)))
    changed = rewritten(model)
    assert [node.op_type for node in changed.graph.node] == ["Add", "Gather", "MatMul"]
    assert_same_rows(model, changed, x=tokens())

"""Products of tokens take their biases, and the answers stay."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator

from diptych_training.export.optimise.rows import tokens_as_rows
from support.small_graphs import random_weights, small_graph

TWO = """
    queries = MatMul (x, ask)
    asked = Add (queries, ask_bias)
    keys = MatMul (x, key)
    known = Add (key_bias, keys)
    y = Mul (asked, known)
"""
WEIGHTS = random_weights(ask=(8, 6), key=(8, 6)) | random_weights(
    1, ask_bias=(6,), key_bias=(6,), one_bias=(1,)
)


def block(*changes: tuple[str, str], tokens: str = "5", also: str = "") -> ModelProto:
    text = TWO
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return small_graph(f"g (float[B,{tokens},8] x) => (float[B,{tokens},6] y{also}) {{ {text} }}", WEIGHTS)


def items() -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal((3, 5, 8)).astype(np.float32)


def rewritten(model: ModelProto) -> tuple[ModelProto, int]:
    changed = ModelProto()
    changed.CopyFrom(model)
    n_biases = tokens_as_rows(changed.graph)
    onnx.checker.check_model(changed, full_check=True)
    return changed, n_biases


def test_products_take_their_biases_and_the_rows_are_the_same() -> None:
    model = block()
    changed, n_biases = rewritten(model)
    assert n_biases == 2
    operators = [node.op_type for node in changed.graph.node]
    # The rows of x are made once, and are rows until somebody asks for items.
    assert operators == ["Reshape", "Gemm", "Gemm", "Mul", "Reshape"]
    expected = ReferenceEvaluator(model).run(None, {"x": items()})[0]
    found = ReferenceEvaluator(changed).run(None, {"x": items()})[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_any_batch_may_come() -> None:
    changed, _ = rewritten(block())
    alone = [ReferenceEvaluator(changed).run(None, {"x": item[None]})[0][0] for item in items()]
    together = ReferenceEvaluator(changed).run(None, {"x": items()})[0]
    np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "left"),
    [
        (block(tokens="L"), 0),  # how many rows belong together is not known
        (block(also=", float[B,5,6] queries"), 1),  # read by others
        (block(("Add (queries, ask_bias)", "Add (queries, queries)")), 1),  # no bias
        (block(("Add (queries, ask_bias)", "Sub (queries, ask_bias)")), 1),
        (block(("Add (queries, ask_bias)", "Add (queries, one_bias)")), 1),  # Gemm's would have to be as wide
    ],
)
def test_other_products_stay(model: ModelProto, left: int) -> None:
    changed, n_biases = rewritten(model)
    assert n_biases == left
    assert sum(node.op_type == "Gemm" for node in changed.graph.node) == left


def test_a_product_of_rows_stays_since_onnxruntime_sees_to_it() -> None:
    text = "g (float[B,8] x) => (float[B,6] y) { queries = MatMul (x, ask) \n y = Add (queries, ask_bias) }"
    model = small_graph(text, {name: WEIGHTS[name] for name in ("ask", "ask_bias")})
    assert rewritten(model)[1] == 0


NORMALISED = """
    queries = MatMul (x, ask)
    asked = Add (queries, ask_bias)
    placed = Add (asked, places)
    y = LayerNormalization <axis = 2> (placed, gain)
"""


@pytest.mark.parametrize(("places", "carried"), [((1, 5, 6), False), ((6,), True)])
def test_what_is_repeated_for_all_items_is_added_to_items(places: tuple[int, ...], carried: bool) -> None:
    kept = {name: WEIGHTS[name] for name in ("ask", "ask_bias")}
    more = random_weights(2, places=places, gain=(6,))
    model = small_graph(f"g (float[B,5,8] x) => (float[B,5,6] y) {{ {NORMALISED} }}", kept | more)
    changed, n_biases = rewritten(model)
    assert n_biases == 1
    operators = [node.op_type for node in changed.graph.node]
    by_item, by_row = ["Reshape", "Add", "LayerNormalization"], ["Add", "LayerNormalization", "Reshape"]
    assert operators == ["Reshape", "Gemm", *(by_row if carried else by_item)]
    expected = ReferenceEvaluator(model).run(None, {"x": items()})[0]
    found = ReferenceEvaluator(changed).run(None, {"x": items()})[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_value_that_no_batch_changes_is_no_row_of_one() -> None:
    text = """g (float[B,5,8] x) => (float[B,5,6] y) {
        queries = MatMul (x, ask)
        asked = Add (queries, ask_bias)
        places = Reshape (flat, to_places)
        y = Add (places, asked)
    }"""
    kept = {name: WEIGHTS[name] for name in ("ask", "ask_bias")}
    model = small_graph(text, kept | random_weights(2, flat=(30,)) | {"to_places": np.array([1, 5, 6])})
    changed, _ = rewritten(model)
    expected = ReferenceEvaluator(model).run(None, {"x": items()})[0]
    found = ReferenceEvaluator(changed).run(None, {"x": items()})[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_what_no_node_made_is_given_back_as_it_is() -> None:
    text = """g (float[B,5,8] x) => (float[B,5,8] y, float[1,5,6] z) {
        y = Softmax (x)
        asked = MatMul (latents, ask)
        z = Add (asked, ask_bias)
        expanded = Expand (latents, five)
    }"""
    kept = {name: WEIGHTS[name] for name in ("ask", "ask_bias")}
    more = random_weights(2, latents=(1, 5, 8)) | {"five": np.array([5, 5, 8])}
    model = small_graph(
        text.replace("float[1,5,6] z)", "float[1,5,6] z, float[5,5,8] expanded)"), kept | more
    )
    changed, n_biases = rewritten(model)
    assert n_biases == 1
    for found, expected in zip(
        ReferenceEvaluator(changed).run(None, {"x": items()}),
        ReferenceEvaluator(model).run(None, {"x": items()}),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)

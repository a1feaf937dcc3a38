"""A single asking token reads the tokens themselves; the answers stay."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator

from diptych_training.export.optimise.ask_tokens import ask_tokens
from diptych_training.export.optimise.rows import tokens_as_rows
from diptych_training.export.optimise.tokens_first import tokens_first
from support.small_graphs import Arrays, random_weights, small_graph

ATTENTION = """
    n = LayerNormalization (x, gain, offset)
    a = Gather <axis = 1> (n, row)
    q = MatMul (a, ask)
    qb = Add (q, ask_bias)
    q4 = Reshape (qb, one_in_heads)
    qt = Transpose <perm = [0, 2, 1, 3]> (q4)
    k = MatMul (n, key)
    k4 = Reshape (k, in_heads)
    kt = Transpose <perm = [0, 2, 3, 1]> (k4)
    v = MatMul (n, value)
    v4 = Reshape (v, in_heads)
    vt = Transpose <perm = [0, 2, 1, 3]> (v4)
    logits = MatMul (qt, kt)
    scaled = Mul (logits, half)
    shares = Softmax <axis = -1> (scaled)
    sums = MatMul (shares, vt)
    joined = Transpose <perm = [0, 2, 1, 3]> (sums)
    y = Reshape (joined, one_row)
"""
WEIGHTS = (
    random_weights(ask=(8, 8), key=(8, 8), value=(8, 8), ask_bias=(8,), gain=(8,), offset=(8,))
    | random_weights(1, key_bias=(8,), value_bias=(8,), mask=(1, 1, 1, 5))
    | {
        "row": np.array([0]),
        "rows": np.array([0, 3]),
        "half": np.float32(0.5),
        "third": np.array([3], np.float32),
        "in_heads": np.array([-1, 5, 2, 4]),
        "one_in_heads": np.array([-1, 1, 2, 4]),
        "two_in_heads": np.array([-1, 2, 2, 4]),
        "one_row": np.array([-1, 1, 8]),
        "two_rows": np.array([-1, 2, 8]),
    }
)
KEYS_WITH_BIAS = ("k4 = Reshape (k,", "kb = Add (k, key_bias) k4 = Reshape (kb,")
VALUES_WITH_BIAS = ("v4 = Reshape (v,", "vb = Add (value_bias, v) v4 = Reshape (vb,")
SCALED_KEYS = ("MatMul (qt, kt)", "MatMul (qt, ks)"), ("    logits =", "    ks = Div (kt, third)\n logits =")


def attention(
    *changes: tuple[str, str], outputs: str = "float[B,1,8] y", also: Arrays | None = None
) -> ModelProto:
    text = f"g (float[B,5,8] x) => ({outputs}) {{ {ATTENTION} }}"
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return small_graph(text, WEIGHTS | (also or {}))


def rewritten(model: ModelProto) -> tuple[ModelProto, int]:
    changed = ModelProto()
    changed.CopyFrom(model)
    n_gone = ask_tokens(changed.graph)
    onnx.checker.check_model(changed, full_check=True)
    return changed, n_gone


def answer(model: ModelProto) -> NDArray[np.float32]:
    x = np.random.default_rng(1).standard_normal((3, 5, 8)).astype(np.float32)
    found: NDArray[np.float32] = ReferenceEvaluator(model).run(None, {"x": x})[0]
    return found


@pytest.mark.parametrize(
    "changes",
    [
        (),
        (KEYS_WITH_BIAS,),
        (VALUES_WITH_BIAS,),
        (KEYS_WITH_BIAS, VALUES_WITH_BIAS),
        SCALED_KEYS,
        (KEYS_WITH_BIAS, *SCALED_KEYS),
        (("Softmax <axis = -1>", "Softmax <axis = 3>"),),
        (("Mul (logits, half)", "Div (logits, third)"),),
    ],
    ids=[
        "plain",
        "bias of keys",
        "bias of values",
        "both biases",
        "keys are scaled",
        "keys with a bias are scaled",
        "the last axis by its number",
        "logits are divided",
    ],
)
def test_no_token_is_projected_for_a_single_one_that_asks(changes: tuple[tuple[str, str], ...]) -> None:
    model = attention(*changes)
    changed, n_gone = rewritten(model)
    assert n_gone == 2
    assert not {"key", "value", "key_bias", "value_bias"} & {one.name for one in changed.graph.initializer}
    shapes = onnx.shape_inference.infer_shapes(changed).graph.value_info
    sizes = {port.name: [one.dim_value for one in port.type.tensor_type.shape.dim][1:] for port in shapes}
    assert sizes["logits"] == [2, 5]
    assert sizes["sums"] == [2, 1, 4]
    np.testing.assert_allclose(answer(changed), answer(model), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "model",
    [
        attention(
            ("(n, row)", "(n, rows)"),
            ("one_in_heads", "two_in_heads"),
            ("one_row", "two_rows"),
            outputs="float[B,2,8] y",
        ),
        attention(("scaled = Mul (logits, half)", "scaled = Add (logits, mask)")),
        attention(("k4 = Reshape (k,", "kb = Add (k, third) k4 = Reshape (kb,")),
        attention(
            ("scaled = Mul (logits, half)", "scaled = Div (logits, nought)"), also={"nought": np.float32(0)}
        ),
        attention(("Softmax <axis = -1>", "Softmax")),
        attention(("Softmax <axis = -1>", "Softmax <axis = 1>")),
        attention(outputs="float[B,1,8] y, float[B,5,8] k"),
        attention(outputs="float[B,1,8] y, float[B,2,1,5] shares"),
        attention(("(v4)", "(v5)"), ("    vt =", "    v5 = Tanh (v4)\n vt =")),
        attention(
            ("(k, in_heads)", "(k, mixed)"),
            ("kt = Transpose <perm = [0, 2, 3, 1]>", "kt = Transpose <perm = [0, 1, 3, 2]>"),
            also={"mixed": np.array([-1, 2, 5, 4])},
        ),
    ],
    ids=[
        "two tokens ask",
        "logits are masked",
        "one number is added to keys",
        "logits are divided by nothing",
        "an axis that versions differ in",
        "shares of heads",
        "keys are an output",
        "shares are an output",
        "values are bent",
        "heads mix tokens",
    ],
)
def test_attention_of_another_form_is_left_as_it_is(model: ModelProto) -> None:
    changed, n_gone = rewritten(model)
    assert n_gone == 0
    assert changed == model


def test_all_attentions_of_a_graph_are_rewritten() -> None:
    """The second one asks what the first one answered."""
    names = ("n", "a", "q", "qb", "q4", "qt", "k", "k4", "kt", "v", "v4", "vt", "logits", "scaled", "shares")
    second = ATTENTION
    for name in (*names, "sums", "joined", "y"):
        second = re.sub(rf"\b{name}\b", f"{name}2", second)
    second = second.replace("LayerNormalization (x,", "LayerNormalization (x2,")
    text = f"g (float[B,5,8] x) => (float[B,1,8] y2) {{ {ATTENTION} x2 = Add (x, y) {second} }}"
    model = small_graph(text, WEIGHTS)
    changed, n_gone = rewritten(model)
    assert n_gone == 4
    assert not {"key", "value"} & {one.name for one in changed.graph.initializer}
    np.testing.assert_allclose(answer(changed), answer(model), rtol=1e-5, atol=1e-6)


def test_tokens_that_come_before_items_are_moved_by_products_alone(tmp_path: Path) -> None:
    """Beside the rewritings behind it: onnxruntime is left single rows to move."""
    begin = "turned = Transpose <perm = [0, 2, 1, 3]> (z) x = Reshape (turned, tokens)"
    text = f"g (float[B,8,5,1] z) => (float[B,1,8] y) {{ {begin} {ATTENTION} }}"
    model = small_graph(text, WEIGHTS | {"tokens": np.array([-1, 5, 8])})
    z = np.random.default_rng(1).standard_normal((3, 8, 5, 1)).astype(np.float32)
    expected = ReferenceEvaluator(model).run(None, {"z": z})[0]
    for step in (tokens_first, ask_tokens, tokens_as_rows):
        assert step(model.graph)
        model = onnx.shape_inference.infer_shapes(model)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"z": z})[0], expected, rtol=1e-5, atol=1e-6)
    loaded = onnx.load(tmp_path / "loaded.onnx").graph
    assert Counter(node.op_type for node in loaded.node)["FusedMatMul"] == 4
    moved = {node.input[0] for node in loaded.node if node.op_type == "Transpose"} - {"z"}
    assert moved == {"q4_tokens_first", "sums_weighed", "sums", "y_tokens_first"}  # of one row each

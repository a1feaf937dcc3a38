"""Biases of keys and values leave an attention, and its answers stay."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator

from diptych_training.export.optimise.attention_biases import attention_biases
from support.small_graphs import Arrays, random_weights, small_graph

LENGTH, WIDTH = 5, 8
ATTENTION = """
    q = MatMul (x, ask)
    qb = Add (q, ask_bias)
    q4 = Reshape (qb, heads)
    qt = Transpose <perm = [0, 2, 1, 3]> (q4)
    k = MatMul (x, key)
    kb = Add (k, key_bias)
    k4 = Reshape (kb, heads)
    kt = Transpose <perm = [0, 2, 3, 1]> (k4)
    v = MatMul (x, value)
    vb = Add (value_bias, v)
    v4 = Reshape (vb, heads)
    vt = Transpose <perm = [0, 2, 1, 3]> (v4)
    logits = MatMul (qt, kt)
    scaled = Mul (logits, scale)
    masked = Add (scaled, mask)
    shares = Softmax <axis = -1> (masked)
    sums = MatMul (shares, vt)
    joined = Transpose <perm = [0, 2, 1, 3]> (sums)
    rows = Reshape (joined, tokens)
    out = MatMul (rows, output)
    y = Add (out, output_bias)
"""


def attention(*changes: tuple[str, str], also: str = "") -> str:
    text = ATTENTION
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return f"g (float[B,5,8] x) => (float[B,5,8] y{also}) {{ {text} }}"


def weights() -> Arrays:
    matrices = dict.fromkeys(("ask", "key", "value", "output"), (WIDTH, WIDTH))
    biases = {f"{name}_bias": (WIDTH,) for name in matrices}
    mask = np.where(np.tri(LENGTH, dtype=bool), 0, -np.inf).astype(np.float32)
    return (
        random_weights(**matrices)
        | random_weights(1, **biases)
        | {
            "scale": np.float32(0.5),
            "mask": mask,
            "each": random_weights(2, each=(LENGTH,))["each"],
            "heads": np.array([-1, LENGTH, 2, 4]),
            "tokens": np.array([-1, LENGTH, WIDTH]),
        }
    )


def tokens() -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal((3, LENGTH, WIDTH)).astype(np.float32)


def rewritten(model: ModelProto) -> tuple[ModelProto, int]:
    changed = ModelProto()
    changed.CopyFrom(model)
    n_biases = attention_biases(changed.graph)
    onnx.checker.check_model(changed, full_check=True)
    return changed, n_biases


def assert_same_rows(model: ModelProto, changed: ModelProto) -> None:
    expected = ReferenceEvaluator(model).run(None, {"x": tokens()})[0]
    found = ReferenceEvaluator(changed).run(None, {"x": tokens()})[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        [],
        [
            ("masked = Add (scaled, mask)", "masked = Identity (scaled)"),
            ("Identity (scaled)", "Mul (scaled, scale)"),
        ],
        [("(qt, kt)", "(qt, ks)"), ("logits =", "ks = Div (kt, scale)\n    logits =")],
        [("axis = -1", "axis = 3")],
    ],
    ids=["masked", "scaled twice", "keys scaled", "axis from the front"],
)
def test_two_passes_over_all_tokens_less_and_the_same_rows(changes: list[tuple[str, str]]) -> None:
    model = small_graph(attention(*changes), weights())
    changed, n_biases = rewritten(model)
    assert n_biases == 2
    adds = [node.output[0] for node in changed.graph.node if node.op_type == "Add"]
    assert not {"kb", "vb"} & set(adds)
    assert not {"key_bias", "value_bias", "output_bias"} & {one.name for one in changed.graph.initializer}
    assert_same_rows(model, changed)


@pytest.mark.parametrize(
    ("changes", "also", "n_biases"),
    [
        ([("(scaled, mask)", "(scaled, mask)"), ("Mul (logits, scale)", "Mul (logits, each)")], "", 1),
        ([("axis = -1", "axis = 2")], "", 0),
        (
            [
                ("(v4)", "(v4)"),
                ("sums = MatMul (shares, vt)", "vs = Mul (vt, scale)\n    sums = MatMul (shares, vs)"),
            ],
            "",
            1,
        ),
        ([], ", float[B,5,8] kb", 1),
        ([], ", float[B,5,8] vb", 1),
        ([], ", float[B,2,5,5] shares", 1),
        ([("y = Add (out, output_bias)", "y = Add (out, x)")], "", 1),
    ],
    ids=[
        "logits scaled key by key",
        "softmax over those that ask",
        "values scaled",
        "keys are an output",
        "values are an output",
        "shares are an output",
        "no bias behind",
    ],
)
def test_bias_that_counts_stays(changes: list[tuple[str, str]], also: str, n_biases: int) -> None:
    model = small_graph(attention(*changes, also=also), weights())
    changed, found = rewritten(model)
    assert found == n_biases
    assert_same_rows(model, changed)

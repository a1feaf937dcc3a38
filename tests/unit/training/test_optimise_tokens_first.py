"""Tokens come before items, attention reads its heads where they lie, and the answers stay."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator

from diptych_training.export.optimise.rows import tokens_as_rows
from diptych_training.export.optimise.tokens_first import _TokensFirst, tokens_first
from support.small_graphs import Arrays, random_weights, small_graph

PATCHES = """
    split = Reshape (x, to_cells)
    gathered = Transpose <perm = [0, 1, 3, 2, 4]> (split)
    patches = Reshape (gathered, to_patches)
    embedded = MatMul (patches, embed)
    sizes = Shape <end = 1> (x)
    class_sizes = Concat <axis = 0> (sizes, one, width)
    class_token = Expand (token, class_sizes)
    joined = Concat <axis = 1> (class_token, embedded)
    tokens = Add (joined, positions)
"""
ATTENTION = """
    normed = LayerNormalization <axis = -1> (tokens, gain, offset)
    queries = MatMul (normed, ask)
    biased = Add (queries, ask_bias)
    keys = MatMul (normed, key)
    values = MatMul (normed, value)
    q4 = Reshape (biased, to_heads)
    k4 = Reshape (keys, to_heads)
    v4 = Reshape (values, to_heads)
    q = Transpose <perm = [0, 2, 1, 3]> (q4)
    k = Transpose <perm = [0, 2, 3, 1]> (k4)
    v = Transpose <perm = [0, 2, 1, 3]> (v4)
    scores = MatMul (q, k)
    shares = Softmax <axis = -1> (scores)
    heads = MatMul (shares, v)
    back = Transpose <perm = [0, 2, 1, 3]> (heads)
    attended = Reshape (back, to_tokens)
    projected = MatMul (attended, project)
    summed = Add (tokens, projected)
"""
POOL = "y = Gather <axis = 1> (summed, first)"
WEIGHTS = (
    random_weights(embed=(12, 8), token=(8,), positions=(1, 5, 8), ask=(8, 8), key=(8, 8), value=(8, 8))
    | random_weights(1, gain=(8,), offset=(8,), ask_bias=(8,), project=(8, 8))
    | {
        "to_cells": np.array([0, 2, 2, 2, 6]),
        "to_patches": np.array([0, 4, 12]),
        "to_heads": np.array([-1, 5, 2, 4]),
        "to_tokens": np.array([-1, 5, 8]),
        "one": np.array([1]),
        "width": np.array([8]),
        "first": np.array(0),
    }
)


def tower(*changes: tuple[str, str], outputs: str = "float[B,8] y", also: Arrays | None = None) -> ModelProto:
    text = f"g (float[B,4,4,3] x) => ({outputs}) {{ {PATCHES} {ATTENTION} {POOL} }}"
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return small_graph(text, WEIGHTS | (also or {}))


def asked_of_tokens(n_tokens: str, end: str = "y = MatMul (heads, by_head)") -> ModelProto:
    """Tokens from a transposition, whose heads are moved before a product reads them."""
    return small_graph(
        f"""g (float[B,{n_tokens},2,4] x) => (float[B,2,{n_tokens},4] y) {{
            turned = Transpose <perm = [0, 1, 3, 2]> (x)
            tokens = Reshape (turned, to_tokens)
            product = MatMul (tokens, ask)
            split = Reshape (product, to_heads)
            heads = Transpose <perm = [0, 2, 1, 3]> (split)
            {end}
        }}""",
        {
            "ask": WEIGHTS["ask"],
            "by_head": WEIGHTS["ask"][:4, :4],
            "to_tokens": np.array([0, 0, 8]),
            "to_heads": np.array([0, 0, 2, 4]),
        },
    )


def pictures() -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal((3, 4, 4, 3)).astype(np.float32)


def rewritten(model: ModelProto) -> tuple[ModelProto, int]:
    changed = ModelProto()
    changed.CopyFrom(model)
    n_taken = tokens_first(changed.graph)
    onnx.checker.check_model(changed, full_check=True)
    return changed, n_taken


def answers(model: ModelProto, x: NDArray[np.float32] | None = None) -> list[NDArray[np.float32]]:
    return [
        np.asarray(one) for one in ReferenceEvaluator(model).run(None, {"x": pictures() if x is None else x})
    ]


def perms(model: ModelProto) -> list[list[int]]:
    return [
        list(attribute.ints)
        for node in model.graph.node
        if node.op_type == "Transpose"
        for attribute in node.attribute
    ]


def test_products_of_attention_read_queries_keys_and_values_from_tokens_first() -> None:
    changed, n_taken = rewritten(tower())
    assert n_taken == 3
    # Patches; the class token and the positions; what onnxruntime takes into products; what attention gives.
    assert perms(changed) == [
        [1, 3, 0, 2, 4],
        [1, 0, 2],
        [1, 0, 2],
        [1, 2, 0, 3],
        [1, 2, 3, 0],
        [1, 2, 0, 3],
        [2, 0, 1, 3],
    ]


@pytest.mark.parametrize(
    "changes",
    [
        [],
        [("first)", "one)"), ("float[B,8] y", "float[B,1,8] y")],  # a token with its axis
        [("Add (joined, positions)", "Add (positions, joined)")],
        [
            (
                "tokens = Add (joined, positions)",
                "flat = Squeeze (positions, zeroth)\n tokens = Add (joined, flat)",
            )
        ],
        [("axis = -1> (tokens", "axis = 2> (tokens")],
        [("y = Gather <axis = 1> (summed, first)", "y = ReduceMax <keepdims = 0> (summed, one)")],
    ],
)
def test_the_answers_stay(changes: list[tuple[str, str]]) -> None:
    model = tower(*changes, also={"zeroth": np.array([0])})
    changed, n_taken = rewritten(model)
    assert n_taken == 3
    np.testing.assert_allclose(answers(changed)[0], answers(model)[0], rtol=1e-5, atol=1e-6)


def test_known_tokens_are_enough() -> None:
    changed, n_taken = rewritten(asked_of_tokens("5"))
    assert n_taken == 1
    x = np.random.default_rng(1).standard_normal((3, 5, 2, 4)).astype(np.float32)
    np.testing.assert_allclose(
        answers(changed, x)[0], answers(asked_of_tokens("5"), x)[0], rtol=1e-5, atol=1e-6
    )


def test_onnxruntime_takes_them_into_its_products(tmp_path: Path) -> None:
    changed, _ = rewritten(tower())
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    session = ort.InferenceSession(changed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": pictures()})
    np.testing.assert_allclose(found, answers(tower())[0], rtol=1e-4, atol=1e-5)
    left = [node for node in onnx.load(tmp_path / "optimised.onnx").graph.node if node.op_type == "Transpose"]
    # Pixels, the class token, and what attention gives: none before its products.
    assert sorted(node.output[0] for node in left) == [
        "back_tokens_first",
        "class_token_tokens_first",
        "gathered_tokens_first",
    ]


PACKED = (
    (
        "biased = Add (queries, ask_bias)",
        "queries3 = MatMul (normed, ask3)\n biased3 = Add (queries3, ask_bias3)",
    ),
    ("keys = MatMul (normed, key)", "biased, keys, values = Split <axis = -1, num_outputs = 3> (biased3)"),
    ("values = MatMul (normed, value)", ""),
)


def test_queries_keys_and_values_may_be_one_product() -> None:
    packed = random_weights(2, ask3=(8, 24), ask_bias3=(24,))
    model = tower(*PACKED, also=packed)
    changed, n_taken = rewritten(model)
    assert n_taken == 3
    np.testing.assert_allclose(answers(changed)[0], answers(model)[0], rtol=1e-5, atol=1e-6)
    inferred = onnx.shape_inference.infer_shapes(changed)
    assert tokens_as_rows(inferred.graph) == 1
    onnx.checker.check_model(inferred, full_check=True)
    np.testing.assert_allclose(answers(inferred)[0], answers(model)[0], rtol=1e-5, atol=1e-6)


def test_a_transposition_that_says_nothing_turns_all_axes_around() -> None:
    model = small_graph(
        """g (float[4,2,5,B] x) => (float[B,5,8] y) {
            turned = Transpose (x)
            tokens = Reshape (turned, to_tokens)
            product = MatMul (tokens, ask)
            split = Reshape (product, to_heads)
            heads = Transpose <perm = [0, 2, 1, 3]> (split)
            asked = MatMul (heads, by_head)
            back = Transpose <perm = [0, 2, 1, 3]> (asked)
            y = Reshape (back, to_tokens)
        }""",
        {
            "ask": WEIGHTS["ask"],
            "by_head": WEIGHTS["ask"][:4, :4],
            "to_tokens": np.array([0, 5, 8]),
            "to_heads": np.array([0, 5, 2, 4]),
        },
    )
    x = np.random.default_rng(1).standard_normal((4, 2, 5, 3)).astype(np.float32)
    layout = _TokensFirst(model.graph)
    layout.go_through()
    changed = ModelProto()
    changed.CopyFrom(model)
    layout.write()  # whatever it is worth
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_allclose(answers(model, x)[0], answers(changed, x)[0], rtol=1e-5, atol=1e-6)


def test_any_batch_may_come() -> None:
    changed, _ = rewritten(tower())
    (together,) = answers(changed)
    alone = [answers(changed, one[None])[0][0] for one in pictures()]
    np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-6)


def test_what_is_an_answer_itself_is_given_back_as_it_was() -> None:
    model = tower(outputs="float[B,8] y, float[B,5,8] summed")
    changed, n_taken = rewritten(model)
    assert n_taken == 3
    assert [port.name for port in changed.graph.output] == ["y", "summed"]
    for found, expected in zip(answers(changed), answers(model), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_products_may_then_take_rows_and_biases() -> None:
    model = tower()
    changed, _ = rewritten(model)
    inferred = onnx.shape_inference.infer_shapes(changed)
    assert tokens_as_rows(inferred.graph) == 1
    onnx.checker.check_model(inferred, full_check=True)
    np.testing.assert_allclose(answers(inferred)[0], answers(model)[0], rtol=1e-5, atol=1e-6)


def test_what_is_by_head_and_not_by_token_goes_with_heads_as_they_were() -> None:
    model = tower(
        ("q4 = Reshape (biased, to_heads)", "plain = Reshape (biased, to_heads)\n q4 = Mul (plain, by_head)"),
        (
            "joined = Concat <axis = 1> (class_token, ",
            "again = Gather <axis = 1> (embedded, one)\n joined = Concat <axis = 1> (again, ",
        ),
        also={"by_head": np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)},
    )
    changed, n_taken = rewritten(model)
    assert n_taken == 2  # of keys and values
    np.testing.assert_allclose(answers(changed)[0], answers(model)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "model",
    [
        tower(
            ("q = Transpose <perm = [0, 2, 1, 3]> (q4)", "q = Identity (q4)"),
            ("k = Transpose <perm = [0, 2, 3, 1]> (k4)", "k = Identity (k4)"),
            ("v = Transpose <perm = [0, 2, 1, 3]> (v4)", "v = Identity (v4)"),
            ("scores = MatMul (q, k)", "scores = Mul (q, k)"),
            ("heads = MatMul (shares, v)", "heads = Mul (shares, v)"),
            ("back = Transpose <perm = [0, 2, 1, 3]> (heads)", "back = Identity (heads)"),
        ),  # nothing to take
        asked_of_tokens("L"),  # texts: how many come is not known
        asked_of_tokens("5", "y = Identity (heads)"),  # no product is there to take it
        small_graph(
            f"""g (float[B,4,4,3] x) => (float[B,8] z) {{ {PATCHES} {ATTENTION} {POOL}
                z = If (always) <
                    then_branch = h1 () => (float[B,8] a) {{ a = Identity (y) }},
                    else_branch = h2 () => (float[B,8] b) {{ b = ReduceMax <keepdims = 0> (summed, one) }}
                >
            }}""",
            WEIGHTS | {"always": np.array(True)},
        ),  # a graph within the graph
    ],
)
def test_other_graphs_stay(model: ModelProto) -> None:
    changed, n_taken = rewritten(model)
    assert n_taken == 0
    assert changed == model

"""Which operators of a graph stay in float32."""

import numpy as np
from onnx import ModelProto

from diptych_training.export.fp16.float32_nodes import float32_nodes
from support.small_graphs import random_weights, small_graph


def kept_operators(model: ModelProto) -> list[str]:
    return [model.graph.node[index].op_type for index in sorted(float32_nodes(model.graph))]


def test_norm_written_out_stays_in_float32_and_its_neighbours_do_not() -> None:
    model = small_graph(
        """g (float[B,8] x) => (float[B,8] y) {
            h = MatMul (x, w)
            mean = ReduceMean <keepdims = 1> (h, axis)
            centred = Sub (h, mean)
            square = Pow (centred, two)
            variance = ReduceMean <keepdims = 1> (square, axis)
            safe = Add (variance, epsilon)
            deviation = Sqrt (safe)
            normal = Div (centred, deviation)
            scaled = Mul (normal, gain)
            y = MatMul (scaled, w)
        }""",
        random_weights(w=(8, 8), gain=(8,))
        | {"axis": np.array([1]), "two": np.float32(2), "epsilon": np.float32(1e-5)},  # type: ignore[dict-item]
    )
    norm = ["ReduceMean", "Sub", "Pow", "ReduceMean", "Add", "Sqrt", "Div", "Mul"]
    assert kept_operators(model) == norm


def test_scale_and_mask_of_attention_logits_stay_with_their_softmax() -> None:
    model = small_graph(
        """g (float[B,L,8] x, int32[B,L] ids) => (float[B,L,8] y) {
            q = MatMul (x, w)
            t = Transpose <perm = [0, 2, 1]> (q)
            logits = MatMul (q, t)
            scaled = Mul (logits, scale)
            padding = Equal (ids, pad)
            penalty = Where (padding, never, nothing)
            row = Unsqueeze (penalty, axis)
            masked = Add (scaled, row)
            p = Softmax <axis = -1> (masked)
            y = MatMul (p, q)
        }""",
        random_weights(w=(8, 8))
        | {
            "scale": np.float32(0.35),  # type: ignore[dict-item]
            "pad": np.int32(0),  # type: ignore[dict-item]
            "never": np.float32(np.finfo(np.float32).min),  # type: ignore[dict-item]
            "nothing": np.float32(0),  # type: ignore[dict-item]
            "axis": np.array([1]),
        },
    )
    assert kept_operators(model) == ["Mul", "Equal", "Add", "Softmax"]


def test_operator_that_nobody_vouched_for_stays_in_float32() -> None:
    model = small_graph(
        "g (float[B,8] x) => (float[B,8] y) { h = MatMul (x, w) s = Selu (h) y = MatMul (s, w) }",
        random_weights(w=(8, 8)),
    )
    assert kept_operators(model) == ["Selu"]

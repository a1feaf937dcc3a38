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


def test_final_normalisation_and_index_arithmetic_stay_in_float32() -> None:
    model = small_graph(
        """g (int32[B,L] ids) => (float[B,8] y) {
            tokens = Gather (table, ids)
            as_float = Cast <to = 1> (ids)
            doubled = Mul (as_float, two)
            last = ArgMax <axis = 1, keepdims = 1> (doubled)
            row = GatherND <batch_dims = 1> (tokens, last)
            h = MatMul (row, w)
            norm = ReduceL2 <keepdims = 1> (h, axis)
            safe = Clip (norm, tiny)
            size = Shape (h)
            wide = Expand (safe, size)
            y = Div (h, wide)
        }""",
        random_weights(w=(8, 8), table=(30, 8))
        | {"axis": np.array([1]), "two": np.float32(2), "tiny": np.float32(1e-12)},  # type: ignore[dict-item]
    )
    kept = ["Cast", "Mul", "ArgMax", "ReduceL2", "Clip", "Expand", "Div"]
    assert kept_operators(model) == kept


def test_pixels_are_scaled_in_float32() -> None:
    model = small_graph(
        """g (uint8[B,4,4,3] pixels) => (float[B,5,2,2] y) {
            as_float = Cast <to = 1> (pixels)
            scaled = Mul (as_float, gain)
            normal = Add (scaled, offset)
            planes = Transpose <perm = [0, 3, 1, 2]> (normal)
            y = Conv <strides = [2, 2]> (planes, w)
        }""",
        random_weights(gain=(3,), offset=(3,), w=(5, 3, 2, 2)),
    )
    assert kept_operators(model) == ["Cast", "Mul", "Add", "Transpose"]


def test_operator_that_nobody_vouched_for_stays_in_float32() -> None:
    model = small_graph(
        "g (float[B,8] x) => (float[B,8] y) { h = MatMul (x, w) s = Selu (h) y = MatMul (s, w) }",
        random_weights(w=(8, 8)),
    )
    assert kept_operators(model) == ["Selu"]

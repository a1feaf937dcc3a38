"""What a float16 file holds: types, weights, casts, external data, and its refusals."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from diptych_training.errors import ExportError
from diptych_training.export.fp16.convert import write_fp16
from diptych_training.export.onnx import files
from diptych_training.export.onnx.files import read_graph, write_graph
from diptych_training.export.onnx.half_weights import halve_weights
from support.small_graphs import random_weights, small_graph

BLOCK = """g (float[B,8] x) => (float[B,8] y) {
    h = MatMul (x, w)
    normal = LayerNormalization (h, gain, bias)
    y = MatMul (normal, w)
}"""
TWO_SOFTMAXES = """g (float[B,8] x) => (float[B,8] y) {
    h = MatMul (x, w)
    p = Softmax <axis = -1> (h)
    q = Mul (p, p)
    y = Softmax <axis = 0> (q)
}"""


def converted(model: ModelProto, folder: Path) -> ModelProto:
    write_graph(model, folder / "full.onnx")
    write_fp16(folder / "full.onnx", folder / "half.onnx")
    half = onnx.load(folder / "half.onnx")
    onnx.checker.check_model(half, full_check=True)
    return half


def casts(model: ModelProto) -> list[tuple[str, int]]:
    return [(n.input[0], n.attribute[0].i) for n in model.graph.node if n.op_type == "Cast"]


def test_weights_of_matrix_products_are_float16_and_those_of_norms_float32(tmp_path: Path) -> None:
    half = converted(small_graph(BLOCK, random_weights(w=(8, 8), gain=(8,), bias=(8,))), tmp_path)
    types = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    float32 = TensorProto.FLOAT
    assert types == {"gain": float32, "bias": float32, "w_float16": TensorProto.FLOAT16}


def test_weights_that_are_kept_as_float16_are_weights_all_the_same(tmp_path: Path) -> None:
    block = BLOCK.replace("B,8", "B,40")
    drawn = random_weights(w=(40, 40), gain=(40,), bias=(40,))
    drawn["w"] = drawn["w"].astype(np.float16).astype(np.float32)
    write_graph(small_graph(block, drawn), tmp_path / "kept.onnx")
    halve_weights(tmp_path / "kept.onnx", {"linear": drawn["w"].T.astype(np.float16)})
    assert casts(onnx.load(tmp_path / "kept.onnx")) == [("linear", TensorProto.FLOAT)]
    write_fp16(tmp_path / "kept.onnx", tmp_path / "half.onnx")
    found = onnx.load(tmp_path / "half.onnx").graph
    expected = converted(small_graph(block, drawn), tmp_path).graph
    assert list(found.node) == list(expected.node)
    assert sorted(found.initializer, key=str) == sorted(expected.initializer, key=str)


def test_ports_keep_their_types(tmp_path: Path) -> None:
    half = converted(small_graph(BLOCK, random_weights(w=(8, 8), gain=(8,), bias=(8,))), tmp_path)
    for port in (*half.graph.input, *half.graph.output):
        assert port.type.tensor_type.elem_type == TensorProto.FLOAT


def test_float16_rows_follow_float32_rows(tmp_path: Path) -> None:
    model = small_graph(BLOCK, random_weights(w=(8, 8), gain=(8,), bias=(8,)))
    rows = np.random.default_rng(1).standard_normal((5, 8)).astype(np.float32)
    expected = ReferenceEvaluator(model).run(None, {"x": rows})[0]
    found = ReferenceEvaluator(converted(model, tmp_path)).run(None, {"x": rows})[0]
    # float16 has 11 bits: three roundings of values around one.
    np.testing.assert_allclose(found, expected, atol=2e-2)
    assert np.abs(found - expected).max() > 0


def test_neighbours_that_stay_in_float32_have_no_cast_between_them(tmp_path: Path) -> None:
    half = converted(small_graph(TWO_SOFTMAXES, random_weights(w=(8, 8))), tmp_path)
    assert casts(half) == [("x", TensorProto.FLOAT16), ("h", TensorProto.FLOAT)]


def test_value_that_two_nodes_need_in_float32_is_cast_once(tmp_path: Path) -> None:
    text = """g (float[B,8] x) => (float[B,8] y) {
        h = MatMul (x, w)
        p = Softmax <axis = -1> (h)
        m = ReduceMean <keepdims = 1> (h)
        y = Mul (p, m)
    }"""
    half = converted(small_graph(text, random_weights(w=(8, 8))), tmp_path)
    assert casts(half).count(("h", TensorProto.FLOAT)) == 1


def test_weight_beyond_float16_is_named_with_its_value(tmp_path: Path) -> None:
    weights = random_weights(w=(8, 8), gain=(8,), bias=(8,))
    weights["w"][3, 3] = -70000
    with pytest.raises(
        ExportError, match=r"fp16 cannot hold w: its largest value is 70000, the limit is 65504"
    ):
        converted(small_graph(BLOCK, weights), tmp_path)


def test_mask_value_becomes_the_lowest_float16_and_infinity_stays(tmp_path: Path) -> None:
    mask = np.array([np.finfo(np.float32).min, 0, -np.inf, 1], np.float32)
    text = "g (float[B,4] x) => (float[B,4] y) { h = MatMul (x, w) s = Add (h, mask) y = Relu (s) }"
    half = converted(small_graph(text, random_weights(w=(4, 4)) | {"mask": mask}), tmp_path)
    (found,) = (t for t in half.graph.initializer if t.name == "mask_float16")
    np.testing.assert_array_equal(numpy_helper.to_array(found), np.array([-65504, 0, -np.inf, 1], np.float16))


def test_constant_nodes_are_converted_as_weights_are(tmp_path: Path) -> None:
    text = """g (float[B,8] x) => (float[B,8] y) {
        h = MatMul (x, w)
        half = Constant <value_float = 0.5> ()
        offset = Constant <value = float[1] {0.25}> ()
        scaled = Mul (h, half)
        y = Add (scaled, offset)
    }"""
    half = converted(small_graph(text, random_weights(w=(8, 8))), tmp_path)
    assert {t.data_type for t in half.graph.initializer} == {TensorProto.FLOAT16}


def test_weights_beside_the_source_are_beside_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_INLINE_BYTES", 1000)
    weights = random_weights(w=(64, 64), gain=(64,), bias=(64,))
    model = small_graph(BLOCK.replace("8]", "64]"), weights)
    rows = np.random.default_rng(1).standard_normal((3, 64)).astype(np.float32)
    expected = ReferenceEvaluator(model).run(None, {"x": rows})[0]
    write_graph(model, tmp_path / "full.onnx")
    write_fp16(tmp_path / "full.onnx", tmp_path / "half.onnx")
    assert (tmp_path / "half.onnx.data").stat().st_size < 0.6 * (tmp_path / "full.onnx.data").stat().st_size
    found = ReferenceEvaluator(read_graph(tmp_path / "half.onnx")).run(None, {"x": rows})[0]
    np.testing.assert_allclose(found, expected, atol=2e-2)


def test_data_file_is_replaced_when_a_graph_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_INLINE_BYTES", 1000)
    for _ in range(2):
        model = small_graph(BLOCK.replace("8]", "64]"), random_weights(w=(64, 64), gain=(64,), bias=(64,)))
        write_graph(model, tmp_path / "graph.onnx")
    assert (tmp_path / "graph.onnx.data").stat().st_size < 2 * 4 * 64 * 64


def test_graph_inside_a_node_is_refused_by_name(tmp_path: Path) -> None:
    text = """g (float[B,8] x, bool c) => (float[B,8] y) {
        h = MatMul (x, w)
        y = If (c) <then_branch = t () => (float[B,8] a) { a = Relu (h) },
                    else_branch = e () => (float[B,8] b) { b = Neg (h) }>
    }"""
    with pytest.raises(ExportError, match="fp16 cannot convert If"):
        converted(small_graph(text, random_weights(w=(8, 8))), tmp_path)

"""What a float16 file holds: types, weights, casts, external data, and its refusals."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from diptych_training.errors import ExportError
from diptych_training.export.fp16.convert import write_fp16
from diptych_training.export.fp16.simulate import write_float16_simulation
from diptych_training.export.onnx import files
from diptych_training.export.onnx.files import read_graph, write_graph
from support.small_graphs import Arrays, random_weights, small_graph

BLOCK = """g (float[B,8] x) => (float[B,8] y) {
    h = MatMul (x, w)
    normal = LayerNormalization (h, gain, bias)
    y = MatMul (normal, w)
}"""


def converted(model: ModelProto, folder: Path) -> ModelProto:
    write_graph(model, folder / "full.onnx")
    write_fp16(folder / "full.onnx", folder / "half.onnx")
    half = onnx.load(folder / "half.onnx")
    onnx.checker.check_model(half, full_check=True)
    return half


def test_weights_of_matrix_products_are_float16_and_those_of_norms_float32(tmp_path: Path) -> None:
    half = converted(small_graph(BLOCK, random_weights(w=(8, 8), gain=(8,), bias=(8,))), tmp_path)
    types = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    float32 = TensorProto.FLOAT
    assert types == {"gain": float32, "bias": float32, "w_float16": TensorProto.FLOAT16}


def test_float16_rows_follow_float32_rows(tmp_path: Path) -> None:
    model = small_graph(BLOCK, random_weights(w=(8, 8), gain=(8,), bias=(8,)))
    rows = np.random.default_rng(1).standard_normal((5, 8)).astype(np.float32)
    expected = ReferenceEvaluator(model).run(None, {"x": rows})[0]
    found = ReferenceEvaluator(converted(model, tmp_path)).run(None, {"x": rows})[0]
    # float16 has 11 bits: three roundings of values around one.
    np.testing.assert_allclose(found, expected, atol=2e-2)
    assert np.abs(found - expected).max() > 0


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


Floats = NDArray[np.float32]
PRODUCT = "g (float[B,8] x) => (float[B,8] y) { h = MatMul (x, w) s = Add (h, h) y = Tanh (s) }"


def rows(n: int = 50) -> Floats:
    return np.random.default_rng(1).standard_normal((n, 8)).astype(np.float32)


def written(text: str, weights: Arrays, folder: Path) -> tuple[ModelProto, Path]:
    """The float16 graph, and the file of its rehearsal."""
    write_graph(small_graph(text, weights), folder / "full.onnx")
    write_fp16(folder / "full.onnx", folder / "half.onnx")
    write_float16_simulation(folder / "half.onnx", folder / "rehearsal.onnx")
    return onnx.load(folder / "half.onnx"), folder / "rehearsal.onnx"


def run(file: Path, x: Floats) -> Floats:
    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    found: Floats = session.run(None, {"x": x})[0]
    return found


def test_rehearsal_rounds_as_float16_does(tmp_path: Path) -> None:
    half, rehearsal = written(PRODUCT, random_weights(w=(8, 8)), tmp_path)
    expected = ReferenceEvaluator(half).run(None, {"x": rows()})[0]  # numpy's own float16
    # numpy may sum a product in another order: now and then the last of 11 bits differs.
    assert np.abs(run(rehearsal, rows()) - expected).max() <= 2**-9
    assert (run(rehearsal, rows()) == expected).mean() > 0.9


def test_value_beyond_float16_overflows_in_the_rehearsal_alone(tmp_path: Path) -> None:
    text = "g (float[B,8] x) => (float[B,8] y) { h = MatMul (x, w) s = Add (h, h) y = MatMul (s, v) }"
    eye = np.eye(8, dtype=np.float32)
    half, rehearsal = written(text, {"w": 60_000 * eye, "v": 1e-5 * eye}, tmp_path)
    x = np.ones((1, 8), np.float32)
    assert np.isfinite(run(tmp_path / "half.onnx", x)).all()  # why a rehearsal is needed at all
    assert not np.isfinite(run(rehearsal, x)).any()
    with np.errstate(all="ignore"):
        assert not np.isfinite(ReferenceEvaluator(half).run(None, {"x": x})[0]).any()

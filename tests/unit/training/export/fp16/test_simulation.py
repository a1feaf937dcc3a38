"""The rehearsal of a float16 graph on a processor rounds and overflows as float16 does."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto
from onnx.reference import ReferenceEvaluator

from diptych_training.export.fp16.convert import write_fp16
from diptych_training.export.fp16.simulate import write_float16_simulation
from diptych_training.export.onnx.files import write_graph
from support.small_graphs import Arrays, random_weights, small_graph

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


def test_rehearsal_of_one_rounding_equals_numpys_rounding(tmp_path: Path) -> None:
    text = "g (float[B,8] x) => (float[B,8] y) { y = Tanh (x) }"
    _, rehearsal = written(text, {}, tmp_path)
    x = rows(1000)
    expected = np.tanh(x.astype(np.float16).astype(np.float32)).astype(np.float16)
    np.testing.assert_allclose(run(rehearsal, x), expected, rtol=2**-10)
    assert (run(rehearsal, x) == expected).mean() > 0.99


def test_value_beyond_float16_overflows_in_the_rehearsal_alone(tmp_path: Path) -> None:
    text = "g (float[B,8] x) => (float[B,8] y) { h = MatMul (x, w) s = Add (h, h) y = MatMul (s, v) }"
    eye = np.eye(8, dtype=np.float32)
    half, rehearsal = written(text, {"w": 60_000 * eye, "v": 1e-5 * eye}, tmp_path)
    x = np.ones((1, 8), np.float32)
    assert np.isfinite(run(tmp_path / "half.onnx", x)).all()  # why a rehearsal is needed at all
    assert not np.isfinite(run(rehearsal, x)).any()
    with np.errstate(all="ignore"):
        assert not np.isfinite(ReferenceEvaluator(half).run(None, {"x": x})[0]).any()


def test_infinite_mask_stays_infinite_in_the_rehearsal(tmp_path: Path) -> None:
    text = """g (float[B,8] x) => (float[B,8] y) {
        h = Log (x)
        t = Transpose <perm = [1, 0]> (h)
        e = Sigmoid (t)
        y = Transpose <perm = [1, 0]> (e)
    }"""
    _, rehearsal = written(text, {}, tmp_path)
    np.testing.assert_array_equal(run(rehearsal, np.zeros((1, 8), np.float32)), np.zeros((1, 8)))


def test_rehearsal_has_no_float16_left(tmp_path: Path) -> None:
    _, rehearsal = written(PRODUCT, random_weights(w=(8, 8)), tmp_path)
    model = onnx.load(rehearsal)
    onnx.checker.check_model(model, full_check=True)
    assert {tensor.data_type for tensor in model.graph.initializer} == {TensorProto.FLOAT}

"""Weights of float32 graphs that are kept as float16."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from diptych_training.errors import ExportError
from diptych_training.export.fp16.half_weights import halve_weights

Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def write_product(path: Path, matrix: Array) -> Path:
    """y = x @ matrix + bias."""
    width = matrix.shape[1]
    weights = [numpy_helper.from_array(matrix, "w"), numpy_helper.from_array(np.ones(width, np.float32), "b")]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Add", ["p", "b"], ["y"])]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])
        for name, size in (("x", matrix.shape[0]), ("y", width))
    ]
    graph = helper.make_graph(nodes, "product", ports[:1], ports[1:], weights)
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


def computed(path: Path, x: Array, optimised: Path | None = None) -> Array:
    options = ort.SessionOptions()
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    found: Array = ort.InferenceSession(str(path), options).run(None, {"x": x})[0]
    return found


def test_a_graph_of_half_the_size_computes_the_rounded_weights_in_float32(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    matrix, x = (rng.normal(size=size).astype(np.float32) for size in ((64, 64), (5, 64)))
    path = write_product(tmp_path / "product.onnx", matrix)
    before = path.stat().st_size

    halve_weights(path)

    assert path.stat().st_size < 0.6 * before
    rounded = matrix.astype(np.float16).astype(np.float32)
    np.testing.assert_allclose(computed(path, x), x @ rounded + 1, rtol=1e-5, atol=1e-5)


def test_the_runtime_casts_once_when_it_opens_the_file(tmp_path: Path) -> None:
    path = write_product(tmp_path / "product.onnx", np.ones((64, 64), np.float32))
    halve_weights(path)
    computed(path, np.ones((1, 64), np.float32), tmp_path / "opened.onnx")
    opened = onnx.load(tmp_path / "opened.onnx").graph
    assert "Cast" not in {node.op_type for node in opened.node}


def test_vectors_and_small_matrices_stay_as_they_are(tmp_path: Path) -> None:
    path = write_product(tmp_path / "product.onnx", np.full((4, 4), 0.1, np.float32))
    halve_weights(path)
    assert {t.data_type for t in onnx.load(path).graph.initializer} == {TensorProto.FLOAT}


def test_a_weight_beyond_float16_is_refused_by_name_and_the_file_left_as_it_was(tmp_path: Path) -> None:
    path = write_product(tmp_path / "product.onnx", np.full((64, 64), 1e5, np.float32))
    before = path.read_bytes()
    with pytest.raises(ExportError, match=r"product.onnx: w has values beyond float16"):
        halve_weights(path)
    assert path.read_bytes() == before

"""The graph rewrite for TensorRT keeps the results, and does not change files."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from diptych.adapters.onnxruntime.tensorrt_graph import cast_uint8_inputs, graph_for_tensorrt
from diptych.errors import BundleError
from support.default_model import default_bundle
from support.fake_onnxruntime import refused
from support.small_graphs import small_graph

PATCHES = """g (uint8[B,4,4,3] pixels) => (float[B,48] y) {
    codes = Reshape (pixels, cells)
    turned = Transpose <perm = [0, 2, 1, 3]> (codes)
    rows = Reshape (turned, flat)
    y = Cast <to = 1> (rows)
}"""
CELLS = {"cells": np.array([0, 2, 8, 3]), "flat": np.array([0, 48])}


def test_bytes_are_read_by_cast_only_with_the_same_result() -> None:
    model, changed = small_graph(PATCHES, CELLS), small_graph(PATCHES, CELLS)
    assert "uint8" in refused(model).lower()
    assert cast_uint8_inputs(changed) == 3
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(changed, strict_mode=True), full_check=True)
    assert refused(changed) == ""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)
    (before,), (after,) = (ReferenceEvaluator(one).run(None, {"pixels": pixels}) for one in (model, changed))
    np.testing.assert_array_equal(before, after)


def run_graph(graph: str | bytes, inputs: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    """The embeddings, on the CPU."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    rows: NDArray[np.float32] = session.run(None, inputs)[0]
    return rows


def test_default_model_gives_the_same_image_embeddings_and_tensorrt_can_read_it() -> None:
    file = default_bundle() / "image_encoder.onnx"
    with np.load(default_bundle() / "golden.npz") as golden:
        pixels = golden["pixels"][:2]
    assert refused(onnx.load(file)) != ""
    graph = graph_for_tensorrt(file)
    assert refused(onnx.load_from_string(graph)) == ""
    before, after = (run_graph(one, {"pixels": pixels}) for one in (str(file), graph))
    np.testing.assert_array_equal(before, after)


def test_operator_that_computes_with_bytes_is_refused() -> None:
    model = small_graph("g (uint8[B,4] a) => (uint8[B,4] y) { y = Max (a, a) }", {})
    with pytest.raises(BundleError, match=re.escape("Max '' computes with the bytes a")):
        cast_uint8_inputs(model)


def test_graph_that_holds_an_engine_is_refused(tmp_path: Path) -> None:
    model = small_graph("g (float[B,4] a) => (float[B,4] y) { y = Identity (a) }", {})
    model.graph.node[0].op_type, model.graph.node[0].domain = "EPContext", "com.microsoft"
    onnx.save(model, tmp_path / "image.onnx")
    with pytest.raises(BundleError, match=r"image\.onnx: holds a compiled engine"):
        graph_for_tensorrt(tmp_path / "image.onnx")

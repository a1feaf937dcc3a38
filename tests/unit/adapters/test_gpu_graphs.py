"""What a GPU's library cannot read is said otherwise, with the same result; files stay as they are."""

import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx.reference import ReferenceEvaluator

from diptych.adapters.gpu_graphs import cast_bytes_first, graph_for_tensorrt
from diptych.bundle.repository import ModelRepository
from diptych.errors import BundleError
from support.moved_bytes import move_bytes_first
from support.small_graphs import small_graph
from support.tensorrt_parser import refused
from support.tiny_bundle import TINY, write_tiny_bundle

ROOT = Path(__file__).parents[3]
PATCHES = """g (uint8[B,4,4,3] pixels) => (float[B,48] y) {
    codes = Reshape (pixels, cells)
    turned = Transpose <perm = [0, 2, 1, 3]> (codes)
    rows = Reshape (turned, flat)
    y = Cast <to = 1> (rows)
}"""
CELLS = {"cells": np.array([0, 2, 8, 3]), "flat": np.array([0, 48])}


def test_bytes_are_read_by_cast_alone_and_arrive_as_before() -> None:
    model, changed = small_graph(PATCHES, CELLS), small_graph(PATCHES, CELLS)
    assert "uint8" in refused(model).lower()
    assert cast_bytes_first(changed) == 3
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(changed, strict_mode=True), full_check=True)
    assert refused(changed) == ""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)
    (before,), (after,) = (ReferenceEvaluator(one).run(None, {"pixels": pixels}) for one in (model, changed))
    np.testing.assert_array_equal(before, after)


def test_default_model_sees_its_pictures_as_before_and_tensorrt_can_read_it() -> None:
    bundle = max((ROOT / "model_repo" / "pictograms").iterdir(), key=lambda folder: int(folder.name))
    file = bundle / "image_encoder.onnx"
    assert refused(onnx.load(file)).startswith("Shape")
    graph = graph_for_tensorrt(file)
    assert isinstance(graph, bytes)
    assert refused(onnx.load_from_string(graph)) == ""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    with np.load(bundle / "golden.npz") as golden:
        pixels = golden["pixels"][:2]
    before, after = (
        ort.InferenceSession(one, options, providers=["CPUExecutionProvider"]).run(None, {"pixels": pixels})[
            0
        ]
        for one in (str(file), graph)
    )
    np.testing.assert_array_equal(before, after)


def test_graph_that_tensorrt_reads_as_it_is_stays_its_file(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path)
    file = ModelRepository(tmp_path).folder(TINY, 1) / "image_encoder.onnx"
    assert graph_for_tensorrt(file) == str(file)
    move_bytes_first(file)
    assert isinstance(graph_for_tensorrt(file), bytes)


def test_operator_that_computes_with_bytes_is_refused_by_name() -> None:
    model = small_graph("g (uint8[B,4] a) => (uint8[B,4] y) { y = Max (a, a) }", {})
    with pytest.raises(BundleError, match=re.escape("Max '' computes with the bytes a")):
        cast_bytes_first(model)

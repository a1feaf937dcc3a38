"""Graph rewrites for GPU libraries keep the results, and do not change files."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from diptych.adapters.onnxruntime.gpu_graph_rewrites import (
    cast_uint8_inputs,
    graph_for_cuda,
    graph_for_tensorrt,
    replace_argmax_by_float_argmax,
)
from diptych.errors import BundleError
from support.clip_graphs import clip_image_graph, clip_text_graph
from support.default_model import default_bundle
from support.small_graphs import small_graph
from support.tensorrt_parser import refused

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


def default_image_graph() -> tuple[Path, NDArray[np.uint8]]:
    with np.load(default_bundle() / "golden.npz") as golden:
        return default_bundle() / "image_encoder.onnx", golden["pixels"][:2]


@pytest.mark.parametrize("model", [clip_image_graph, default_image_graph])
def test_model_gives_the_same_image_embeddings_and_tensorrt_can_read_it(
    model: Callable[[], tuple[Path, NDArray[np.uint8]]],
) -> None:
    file, pixels = model()
    assert refused(onnx.load(file)) != ""
    graph = graph_for_tensorrt(file)
    assert refused(onnx.load_from_string(graph)) == ""
    before, after = (run_graph(one, {"pixels": pixels}) for one in (str(file), graph))
    np.testing.assert_array_equal(before, after)


def test_operator_that_computes_with_bytes_is_refused() -> None:
    model = small_graph("g (uint8[B,4] a) => (uint8[B,4] y) { y = Max (a, a) }", {})
    with pytest.raises(BundleError, match=re.escape("Max '' computes with the bytes a")):
        cast_uint8_inputs(model)


POOLED = """g (int32[B,L] ids) => (int64[B] place) {
    long = Cast <to = 7> (ids)
    place = ArgMax <axis = -1, keepdims = 0> (long)
}"""


def test_first_largest_id_is_found_among_equal_and_neighbouring_ids() -> None:
    model, changed = small_graph(POOLED, {}), small_graph(POOLED, {})
    assert replace_argmax_by_float_argmax(changed) == 1
    inferred = onnx.shape_inference.infer_shapes(changed, strict_mode=True)
    onnx.checker.check_model(inferred, full_check=True)
    types = {port.name: port.type.tensor_type.elem_type for port in inferred.graph.value_info}
    (found,) = [node for node in changed.graph.node if node.op_type == "ArgMax"]
    assert types[found.input[0]] == onnx.TensorProto.DOUBLE
    ids = np.full((4, 77), 49407, np.int32)  # ends for padding
    ids[:, 0] = 49406
    ids[0, 1:76] = 49405
    ids[1, 1:], ids[2, 1:], ids[3] = 0, 5, 2**24 + 1
    ids[3, :50] = 2**24
    ranked = ReferenceEvaluator(changed, verbose=0).run([found.input[0]], {"ids": ids})[0]
    assert all(len(set(row)) == 77 for row in ranked.tolist())
    (before,), (after,) = (ReferenceEvaluator(one).run(None, {"ids": ids}) for one in (model, changed))
    assert before.tolist() == after.tolist() == [76, 0, 0, 50]


@pytest.mark.parametrize(
    "node",
    [
        "place = ArgMax <axis = 1, keepdims = 0, select_last_index = 1> (x)",
        "place = ArgMax <axis = 0, keepdims = 0> (x)",
    ],
)
def test_other_argmax_operators_are_not_replaced(node: str) -> None:
    model = small_graph(f"g (int64[B,L] x) => (int64[N] place) {{ {node} }}", {})
    before = model.SerializeToString()
    assert replace_argmax_by_float_argmax(model) == 0
    assert model.SerializeToString() == before


def test_clip_gives_the_same_text_embeddings_with_the_rewrite_for_cuda() -> None:
    file, ids = clip_text_graph()
    graph = graph_for_cuda(file)
    assert isinstance(graph, bytes)
    before, after = (run_graph(one, {"input_ids": ids}) for one in (str(file), graph))
    np.testing.assert_array_equal(before, after)


def test_graph_without_an_operator_to_rewrite_is_read_from_its_file() -> None:
    file = default_bundle() / "image_encoder.onnx"
    assert graph_for_cuda(file) == str(file)


def test_default_model_gives_the_same_text_embeddings_for_cuda() -> None:
    file = default_bundle() / "text_encoder.onnx"
    with np.load(default_bundle() / "golden.npz") as golden:
        ids = golden["input_ids"]
    before, after = (run_graph(one, {"input_ids": ids}) for one in (str(file), graph_for_cuda(file)))
    np.testing.assert_array_equal(before, after)

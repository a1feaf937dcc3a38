"""Weights of float32 graphs that are kept as float16."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file
from torch import Tensor

from diptych_training.errors import ExportError, ImportFailed
from diptych_training.export.onnx.half_weights import halve_weights, write_weights_not_in_graphs
from diptych_training.importing.common.weight_files import read_weights
from support.small_graphs import small_graph

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

    halve_weights(path, {})

    assert path.stat().st_size < 0.6 * before
    rounded = matrix.astype(np.float16).astype(np.float32)
    np.testing.assert_allclose(computed(path, x), x @ rounded + 1, rtol=1e-5, atol=1e-5)


def test_a_weight_beyond_float16_is_refused_by_name_and_the_file_left_as_it_was(tmp_path: Path) -> None:
    path = write_product(tmp_path / "product.onnx", np.full((64, 64), 1e5, np.float32))
    before = path.read_bytes()
    with pytest.raises(ExportError, match=r"product.onnx: w has values beyond float16"):
        halve_weights(path, {})
    assert path.read_bytes() == before


def halves(*size: int) -> NDArray[np.float16]:
    return np.random.default_rng(0).normal(size=size).astype(np.float16)


def held(path: Path) -> dict[str, NDArray[np.float16]]:
    tensors = [t for t in onnx.load(path).graph.initializer if t.data_type == TensorProto.FLOAT16]
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in tensors}


def test_a_tensor_of_the_model_is_held_under_its_name_to_the_bit(tmp_path: Path) -> None:
    tensors = {"other": halves(64, 64).T, "linear": halves(64, 64)[::-1]}
    path = write_product(tmp_path / "product.onnx", tensors["linear"].astype(np.float32))
    x = np.ones((2, 64), np.float32)
    before = computed(path, x)

    assert halve_weights(path, tensors) == {"linear"}

    assert {name: values.tobytes() for name, values in held(path).items()} == {
        "linear": tensors["linear"].tobytes()
    }
    np.testing.assert_allclose(computed(path, x), before, rtol=1e-6)


@pytest.mark.parametrize("factor", [1, np.linspace(-0.3, 5, 48, dtype=np.float32)], ids=["plain", "factors"])
def test_a_tensor_is_recognised_transposed_and_with_a_factor_for_each_output(
    tmp_path: Path, factor: float | Array
) -> None:
    tensor, x = halves(48, 64), np.random.default_rng(1).normal(size=(3, 64)).astype(np.float32)
    path = write_product(
        tmp_path / "product.onnx", np.ascontiguousarray(tensor.astype(np.float32).T * factor)
    )
    before = computed(path, x)

    assert halve_weights(path, {"linear": tensor}) == {"linear"}

    assert held(path)["linear"].tobytes() == tensor.tobytes()
    np.testing.assert_allclose(computed(path, x, tmp_path / "opened.onnx"), before, rtol=1e-5, atol=1e-5)
    opened = onnx.load(
        tmp_path / "opened.onnx"
    ).graph  # the runtime computed the weight when it opened the file
    assert {node.op_type for node in opened.node} <= {"MatMul", "Add", "Gemm"}


def test_kernels_with_a_folded_batch_norm_are_held_as_the_model_has_them(tmp_path: Path) -> None:
    kernels, gains = halves(64, 3, 3, 3), np.linspace(-1, 2, 64, dtype=np.float32).reshape(-1, 1, 1, 1)
    folded = "g (float[B,3,8,8] x) => (float[B,64,6,6] y) { y = Conv (x, w) }"
    path = tmp_path / "convolution.onnx"
    onnx.save(small_graph(folded, {"w": kernels.astype(np.float32) * gains}), path)
    x = np.random.default_rng(1).normal(size=(2, 3, 8, 8)).astype(np.float32)
    before = computed(path, x)

    assert halve_weights(path, {"conv1.weight": kernels}) == {"conv1.weight"}

    assert held(path)["conv1.weight"].tobytes() == kernels.tobytes()
    np.testing.assert_allclose(computed(path, x), before, rtol=1e-5, atol=1e-5)


MATRIX = torch.arange(12, dtype=torch.float16).reshape(3, 4)
GAIN = torch.tensor([1.5, -0.0])


def write_graph(path: Path, **tensors: Tensor) -> None:
    """A file with these initialisers."""
    port = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    weights = [numpy_helper.from_array(np.asarray(tensor), name) for name, tensor in tensors.items()]
    onnx.save(helper.make_model(helper.make_graph([], "g", [port], [port], weights)), path)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file of weights that leaves `linear` to a graph."""
    write_graph(tmp_path / "image.onnx", linear=MATRIX, further=torch.ones(2))
    path = tmp_path / "weights.safetensors"
    write_weights_not_in_graphs(path, {"linear": MATRIX, "gain": GAIN}, {"image.onnx": {"linear"}})
    return path


def test_what_a_graph_holds_is_not_in_the_file_and_is_read_all_the_same(weights: Path) -> None:
    found = read_weights(weights)

    assert load_file(weights).keys() == {"gain"}
    assert found.keys() == {"linear", "gain"}
    for name, tensor in (("linear", MATRIX), ("gain", GAIN)):
        assert found[name].dtype == tensor.dtype
        assert found[name].numpy().tobytes() == tensor.numpy().tobytes()


def test_a_graph_that_is_missing_is_named_with_a_tensor_that_it_holds(weights: Path) -> None:
    (weights.parent / "image.onnx").unlink()
    with pytest.raises(ImportFailed, match=r"image\.onnx cannot be read.*such as linear.*No such file"):
        read_weights(weights)


def test_a_graph_with_other_values_is_refused(weights: Path) -> None:
    write_graph(weights.parent / "image.onnx", linear=MATRIX + 1)
    with pytest.raises(ImportFailed, match=r"image\.onnx was altered: linear"):
        read_weights(weights)

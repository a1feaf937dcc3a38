"""Weights that a bundle's graphs hold: left out of its file of weights, and read back."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file
from torch import Tensor

from diptych_training.errors import ImportFailed
from diptych_training.export.onnx.half_weights import write_weights_not_in_graphs
from diptych_training.importing.common.weight_files import read_weights

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


def test_a_file_that_is_no_graph_is_named(weights: Path) -> None:
    (weights.parent / "image.onnx").write_bytes(b"\xff" * 100)
    with pytest.raises(ImportFailed, match=r"image\.onnx cannot be read.*such as linear"):
        read_weights(weights)


def test_another_graph_is_refused_by_the_tensor_that_it_lacks(weights: Path) -> None:
    write_graph(weights.parent / "image.onnx", other=MATRIX)
    with pytest.raises(ImportFailed, match=r"image\.onnx lacks linear, which weights\.safetensors"):
        read_weights(weights)


def test_a_graph_with_other_values_is_refused(weights: Path) -> None:
    write_graph(weights.parent / "image.onnx", linear=MATRIX + 1)
    with pytest.raises(ImportFailed, match=r"image\.onnx was altered: linear"):
        read_weights(weights)

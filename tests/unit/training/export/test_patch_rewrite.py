"""Patches embedded by a product of raw pixels are the rows that the convolution of scaled pixels makes."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator

from diptych_training.export.onnx.graph import Graph
from diptych_training.export.rewrites import patch_embedding_as_matmul
from support.small_graphs import Arrays, random_weights, small_graph

SCALED = """
    float_pixels = Cast <to = 1> (pixels)
    stretched = Mul (float_pixels, gain)
    scaled = Add (stretched, offset)
"""


def tower(
    convolution: str = "kernel_shape = [4, 4], strides = [4, 4]",
    inputs: str = "image, kernels, bias",
    scaled: str = SCALED,
    also: bool = False,
    height: int = 8,
    out: str = "4",
) -> str:
    outputs = f"float[B,{out},5] rows{', float[B,5,M] flat' if also else ''}"
    return f"""g (uint8[B,{height},{height},3] pixels) => ({outputs}) {{
        {scaled}
        image = Transpose <perm = [0, 3, 1, 2]> (scaled)
        maps = Conv <{convolution}> ({inputs})
        flat = Reshape (maps, shape)
        rows = Transpose <perm = [0, 2, 1]> (flat)
    }}"""


def weights() -> Arrays:
    drawn = random_weights(kernels=(5, 3, 4, 4), bias=(5,))
    rng = np.random.default_rng(2)
    scaling = {"gain": rng.uniform(0.01, 0.02, 3), "offset": rng.uniform(-2, 2, 3)}
    scalings = {name: np.asarray(value, np.float32) for name, value in scaling.items()}
    return drawn | scalings | {"shape": np.array([0, 5, -1])}


def pixels(height: int = 8) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (2, height, height, 3), np.uint8)


def rewritten(model: ModelProto) -> ModelProto:
    for node in model.graph.node:
        node.name = node.output[0]
    changed = patch_embedding_as_matmul(Graph(model))
    assert changed is not None
    onnx.checker.check_model(changed, full_check=True)
    return changed


@pytest.mark.parametrize("inputs", ["image, kernels, bias", "image, kernels"])
def test_rows_are_the_same_and_the_convolution_is_gone(inputs: str) -> None:
    model = small_graph(tower(inputs=inputs), weights())
    changed = rewritten(model)
    operators = [node.op_type for node in changed.graph.node]
    assert "Conv" not in operators
    assert operators.count("MatMul") == 1
    expected = ReferenceEvaluator(model).run(None, {"pixels": pixels()})[0]
    found = ReferenceEvaluator(changed).run(None, {"pixels": pixels()})[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "text",
    [
        tower("kernel_shape = [4, 4], strides = [2, 2]", out="M"),
        tower("kernel_shape = [4, 4], strides = [4, 4], pads = [2, 2, 2, 2]", out="M"),
        tower("kernel_shape = [4, 4], strides = [4, 4], dilations = [2, 1]", out="M"),
        tower(height=10, out="M"),
        tower(also=True),
        tower(scaled="scaled = Cast <to = 1> (pixels)"),
    ],
    ids=["overlap", "margin", "dilation", "rest", "another reader", "no scaling"],
)
def test_other_convolutions_are_left_as_they_are(text: str) -> None:
    model = small_graph(text, weights())
    assert patch_embedding_as_matmul(Graph(model)) is None

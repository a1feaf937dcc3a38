"""Two small ONNX encoders that share one space of colours, built from numbers; knows nothing of bundles.

Image: the mean colours of a 4 x 4 grid, projected at random, plus a bias, normalised.
Text: the sum of the token rows, normalised. The row of a colour word is the image embedding of that colour,
so `red` finds a red picture; every other token has a short random row, so different texts differ.
"""

from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
GRID = 4
WASTE_WIDTH, WASTE_ROUNDS = 1024, 4
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 20, 30),
    "green": (20, 170, 40),
    "blue": (30, 60, 220),
    "yellow": (240, 220, 30),
    "black": (5, 5, 5),
    "white": (250, 250, 250),
}
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class TinyWeights:
    """`projection` (48, D), `bias` (D,), `rows` (V, D); `pad_id` is a row of zeros."""

    image_size: int
    projection: Floats
    bias: Floats
    rows: Floats
    pad_id: int


def make_weights(
    vocabulary: dict[str, int], pad_id: int, *, image_size: int, embed_dim: int, seed: int
) -> TinyWeights:
    """Weights drawn from `seed`: two seeds are two versions whose vectors cannot be compared."""
    rng = np.random.default_rng(seed)
    projection = rng.standard_normal((GRID * GRID * 3, embed_dim)).astype(np.float32)
    bias = (0.1 * rng.standard_normal(embed_dim)).astype(np.float32)
    rows = (0.05 * rng.standard_normal((len(vocabulary), embed_dim))).astype(np.float32)
    for word, rgb in COLOURS.items():
        grid = np.repeat(np.asarray(rgb, np.float32) / 255 - 0.5, GRID * GRID)  # (48,), channels first
        colour = grid @ projection + bias
        rows[vocabulary[word]] = colour / np.linalg.norm(colour)
    rows[pad_id] = 0
    return TinyWeights(image_size, projection, bias, rows, pad_id)


def rounded(weights: TinyWeights) -> TinyWeights:
    """The same in 8 bits: embeddings of cosine 0.9999 or so."""
    return replace(weights, projection=_rounded(weights.projection), rows=_rounded(weights.rows))


def _rounded(values: Floats) -> Floats:
    step = np.abs(values).max() / 127
    return (np.round(values / step) * step).astype(np.float32)


def image_reference(weights: TinyWeights, pixels: NDArray[np.uint8]) -> Floats:
    """(B, S, S, 3) uint8 -> (B, D): the same sums as the graph, in numpy."""
    cell = weights.image_size // GRID
    cells = pixels.reshape(len(pixels), GRID, cell, GRID, cell, 3).astype(np.float64).mean(axis=(2, 4))
    grid = cells.transpose(0, 3, 1, 2).reshape(len(pixels), -1) / 255 - 0.5
    return _unit(grid @ weights.projection + weights.bias)


def text_reference(weights: TinyWeights, input_ids: NDArray[np.int32]) -> Floats:
    """(B, L) int32 -> (B, D): the same sums as the graph, in numpy."""
    return _unit(weights.rows[input_ids].astype(np.float64).sum(axis=1))


def image_graph(weights: TinyWeights) -> onnx.ModelProto:
    """`pixels` (B, S, S, 3) uint8 -> `image_embedding` (B, D) float32 of unit norm."""
    size, cell = weights.image_size, weights.image_size // GRID
    nodes = [
        helper.make_node("Cast", ["pixels"], ["float_pixels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float_pixels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "AveragePool", ["planes"], ["cells"], kernel_shape=[cell, cell], strides=[cell, cell]
        ),
        helper.make_node("Flatten", ["cells"], ["grid"], axis=1),
        helper.make_node("Mul", ["grid", "scale"], ["unit_grid"]),
        helper.make_node("Sub", ["unit_grid", "half"], ["centred"]),
        helper.make_node("Gemm", ["centred", "projection", "bias"], ["features"]),
        helper.make_node("LpNormalization", ["features"], ["image_embedding"], axis=-1, p=2),
    ]
    constants = {
        "scale": np.float32(1 / 255),
        "half": np.float32(0.5),
        "projection": weights.projection,
        "bias": weights.bias,
    }
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["B", size, size, 3])
    return _model(nodes, constants, pixels, "image_embedding", weights.rows.shape[1])


def text_graph(weights: TinyWeights) -> onnx.ModelProto:
    """`input_ids` (B, L) int32 -> `text_embedding` (B, D) float32 of unit norm."""
    nodes = [
        helper.make_node("Gather", ["rows", "input_ids"], ["tokens"], axis=0),
        helper.make_node("ReduceSum", ["tokens", "over_length"], ["features"], keepdims=0),
        helper.make_node("LpNormalization", ["features"], ["text_embedding"], axis=-1, p=2),
    ]
    constants = {"rows": weights.rows, "over_length": np.array([1], np.int64)}
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT32, ["B", "L"])
    return _model(nodes, constants, ids, "text_embedding", weights.rows.shape[1])


def slowed(graph: onnx.ModelProto, n_rounds: int = WASTE_ROUNDS, width: int = WASTE_WIDTH) -> onnx.ModelProto:
    """The same embeddings after hundreds of times the work: products with zeros, added at the end."""
    slow = onnx.ModelProto()
    slow.CopyFrom(graph)
    output, fast = slow.graph.output[0].name, "fast"
    slow.graph.node[-1].output[0] = fast
    shape = [width, width]
    slow.graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([1, width], np.int64), "repeats"),
            numpy_helper.from_array(np.array(shape, np.int64), "waste_shape"),
            numpy_helper.from_array(np.array([1], np.int64), "width_axis"),
        ]
    )
    slow.graph.node.extend(
        [
            helper.make_node("ReduceSum", [fast, "width_axis"], ["sum"], keepdims=1),
            helper.make_node("Tile", ["sum", "repeats"], ["wide_0"]),
            helper.make_node("ConstantOfShape", ["waste_shape"], ["zeros"]),
            *(helper.make_node("MatMul", [f"wide_{n}", "zeros"], [f"wide_{n + 1}"]) for n in range(n_rounds)),
            helper.make_node("ReduceSum", [f"wide_{n_rounds}", "width_axis"], ["nothing"], keepdims=1),
            helper.make_node("Add", [fast, "nothing"], [output]),
        ]
    )
    onnx.checker.check_model(slow)
    return slow


def _model(
    nodes: list[onnx.NodeProto],
    constants: dict[str, NDArray[np.generic] | np.generic],
    source: onnx.ValueInfoProto,
    output: str,
    embed_dim: int,
) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    answer = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["B", embed_dim])
    graph = helper.make_graph(nodes, "tiny", [source], [answer], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def _unit(features: NDArray[np.float64]) -> Floats:
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)

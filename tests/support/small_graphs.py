"""Small float32 graphs written as text, with seeded weights; knows nothing of towers or exporters.

model = small_graph(BLOCK, weights={"w": (8, 8)})
"""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

Arrays = dict[str, NDArray[np.generic]]


def small_graph(text: str, weights: Arrays) -> ModelProto:
    """`text` is a graph in onnx's own notation, such as ``g (float[B,8] x) => (float[B,8] y) { ... }``."""
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20]>\n{text}')
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    model = onnx.shape_inference.infer_shapes(model)
    onnx.checker.check_model(model)
    return model


def random_weights(seed: int = 0, **shapes: tuple[int, ...]) -> Arrays:
    """Standard normal float32 arrays, scaled down by their first size."""
    rng = np.random.default_rng(seed)
    return {
        name: (rng.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)
        for name, shape in shapes.items()
    }

"""What the 8-bit products of this processor hold; knows nothing of the graph that is quantised."""

from functools import cache

import numpy as np
import onnxruntime as ort
from onnx import TensorProto
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info
from onnx.numpy_helper import from_array

DEPTH = 64
EXACT_STEPS = 127  # int8, symmetric
NARROW_STEPS = 64  # two products of 255 and 64 are the most that 16 bits hold


@cache
def weight_steps() -> int:
    """Steps of int8 weights on either side of 0: 127, or 64 on a processor without 8-bit dot products.

    Those of x86 before VNNI multiply uint8 by int8 and add two neighbours in 16 bits, where the sum is cut
    off at 32,767 in silence. With weights of 7 bits no sum gets there.
    """
    return EXACT_STEPS if _adds_exactly() else NARROW_STEPS


def _adds_exactly() -> bool:
    """The largest codes, through the runtime's own product, against whole numbers."""
    left = np.full((8, DEPTH), 255, np.uint8)
    right = np.full((DEPTH, 16), EXACT_STEPS, np.int8)
    graph = make_graph(
        [make_node("MatMulInteger", ["left", "right"], ["product"])],
        "largest",
        [make_tensor_value_info("left", TensorProto.UINT8, list(left.shape))],
        [make_tensor_value_info("product", TensorProto.INT32, [len(left), right.shape[1]])],
        initializer=[from_array(right, "right")],
    )
    model = make_model(graph, opset_imports=[make_opsetid("", 20)], ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (product,) = session.run(None, {"left": left})
    return bool((product == left.astype(np.int32) @ right.astype(np.int32)).all())

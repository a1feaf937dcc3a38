"""What TensorRT's parser of ONNX refuses: bytes that anything but Cast reads. Knows no engines."""

import onnx
from onnx import TensorProto


def refused(model: onnx.ModelProto) -> str:
    """What it says of the first operator that it does not take; empty where it takes all."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    ports = (*inferred.input, *inferred.value_info)
    bytes_ = {port.name for port in ports if port.type.tensor_type.elem_type == TensorProto.UINT8}
    for node in inferred.node:
        if node.op_type != "Cast" and bytes_ & set(node.input):
            return f"{node.op_type} {node.name!r}: all UINT8 inputs must directly feed into a cast layer"
    return ""

"""The tiny image tower with bytes that are moved before they are cast, as an export for CPUs does it."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from support.tiny_bundle import write_changed_bundle


def write_moved_bytes_bundle(repo: Path, scratch: Path) -> None:
    """`tiny/1` with such an image tower, whose golden outputs are those of the plain one."""
    write_changed_bundle(repo, scratch, lambda staged: move_bytes_first(staged / "image_encoder.onnx"))


def move_bytes_first(file: Path) -> None:
    """The same embeddings, whose planes are laid out in bytes, and whose batch is measured on them."""
    model = onnx.load(file)
    cast, transpose, *rest = model.graph.node
    assert (cast.op_type, transpose.op_type) == ("Cast", "Transpose")
    size = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    nodes = [
        helper.make_node("Shape", ["pixels"], ["batch"], start=0, end=1),
        helper.make_node("Concat", ["batch", "sides"], ["sizes"], axis=0),
        helper.make_node("Reshape", ["pixels", "sizes"], ["byte_rows"]),
        helper.make_node("Transpose", ["byte_rows"], ["byte_planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["byte_planes"], [transpose.output[0]], to=TensorProto.FLOAT),
        *(onnx.NodeProto.FromString(node.SerializeToString()) for node in rest),
    ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.append(helper.make_tensor("sides", TensorProto.INT64, [3], [size, size, 3]))
    onnx.checker.check_model(model)
    onnx.save(model, file)

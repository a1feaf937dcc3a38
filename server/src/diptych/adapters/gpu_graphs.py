"""Rewrite a graph for what shall run it on a GPU, in memory. Knows no sessions and no towers.

Files of a version stay as they were published: what a GPU's library cannot read is said otherwise here.
"""

from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper

from diptych.errors import BundleError

# They hand on what they read, value by value, in whatever type it has.
MOVES = frozenset({"Reshape", "Transpose", "Identity", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Split"})
MEASURES = frozenset({"Shape", "Size"})


def graph_for_tensorrt(file: Path) -> str | bytes:
    """What a session is made of: the path of a graph that TensorRT reads as it is, else its rewrite.

    Weights in a file of their own stay there. Raises BundleError.
    """
    model = onnx.load(file, load_external_data=False)
    return bytes(model.SerializeToString()) if cast_bytes_first(model) else str(file)


def cast_bytes_first(model: ModelProto) -> int:
    """Have what reads bytes read them as float32; how many operators read them as they came.

    TensorRT takes uint8 as an input of a network, and lets nothing but Cast read it: no Reshape or Transpose,
    and no Shape. All of 0 to 255 are exact in float32, and in float16, to which a later Cast may go on.
    Raises BundleError naming an operator that computes with bytes.
    """
    graph = model.graph
    ports = [port.name for port in graph.input if port.type.tensor_type.elem_type == TensorProto.UINT8]
    floats = {name: f"{name}_as_floats" for name in ports}
    moved: set[str] = set()  # values that were bytes and are floats now, under their names
    n_changed = 0
    for node in graph.node:
        read = [name for name in node.input if name in floats or name in moved]
        if not read or node.op_type == "Cast":
            continue
        _require_mover(node, read)
        n_changed += 1
        node.input[0] = floats.get(read[0], read[0])
        if node.op_type in MOVES:
            moved.update(node.output)
    if n_changed:
        casts = [
            helper.make_node("Cast", [name], [new], to=TensorProto.FLOAT) for name, new in floats.items()
        ]
        nodes = [*casts, *graph.node]
        del graph.node[:]
        graph.node.extend(nodes)
        types = [port for port in graph.value_info if port.name not in moved]
        del graph.value_info[:]
        graph.value_info.extend(types)
    return n_changed


def _require_mover(node: NodeProto, read: list[str]) -> None:
    if node.op_type not in MOVES | MEASURES or read != [node.input[0]]:
        raise BundleError(
            f"{node.op_type} {node.name!r} computes with the bytes {', '.join(read)}: TensorRT reads bytes "
            f"by Cast alone, and replaced are {', '.join(sorted(MOVES | MEASURES))}"
        )

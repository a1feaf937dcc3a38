"""Rewrite a graph for what shall run it on a GPU, in memory. Knows no sessions and no towers.

Files of a version stay as they were published: what a GPU's library cannot read is said otherwise here.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, inliner, numpy_helper

from diptych.adapters.gpu_argmax import CHOICES, INTEGERS, replace_integer_argmax
from diptych.errors import BundleError

# They hand on what they read, value by value, in whatever type it has.
MOVES = frozenset({"Reshape", "Transpose", "Identity", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Split"})
MEASURES = frozenset({"Shape", "Size"})
OLDEST_OPSET = 15  # since when Shape gives one size of several
MAX_LENGTH = 1 << 14  # of a row that is searched
APART = float(1 << 20)  # from one id to the next: more than MAX_LENGTH, and ids below 2^32 stay exact


def graph_for_tensorrt(file: Path) -> str | bytes:
    """What a session is made of: the path of a graph that TensorRT reads as it is meant, else its rewrite.

    Weights in a file of their own stay there. Raises BundleError with the file and what cannot be rewritten.
    """
    model = onnx.load(file, load_external_data=False)
    if model.functions:
        model = inliner.inline_local_functions(model)
    kinds = {node.op_type for node in model.graph.node}
    if kinds & CHOICES:
        model = onnx.shape_inference.infer_shapes(model)
    try:
        n_changed = replace_integer_argmax(model, MAX_LENGTH) + cast_bytes_first(model)
    except BundleError as error:
        raise BundleError(f"{file.name}: {error}") from error
    return bytes(model.SerializeToString()) if n_changed else str(file)


def graph_for_cuda(file: Path) -> str | bytes:
    """The same for onnxruntime's CUDA provider."""
    model = onnx.load(file, load_external_data=False)
    return bytes(model.SerializeToString()) if rank_ids_in_floats(model) else str(file)


def rank_ids_in_floats(model: ModelProto) -> int:
    """Have ArgMax over integers search unequal floats, whose first largest is the same; how many there were.

    CLIP's text tower is read at its first largest id. onnxruntime's ArgMax of CUDA is for floats, so over ids
    it would be computed by the CPU, and a graph with a copy to there is none that can be captured. Among
    equal numbers nothing promises the first on a GPU, so that none are: float64 `id * 2^20 - position`. All
    operators are of versions that CUDA has kernels for. Others than along the last of two axes stay.
    """
    opset = next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 0)
    if opset < OLDEST_OPSET or not any(node.op_type == "ArgMax" for node in model.graph.node):
        return 0
    graph = onnx.shape_inference.infer_shapes(model).graph
    kinds = {port.name: port.type.tensor_type for port in (*graph.input, *graph.value_info)}
    nodes: list[NodeProto] = []
    n_changed = 0
    for node in model.graph.node:
        if node.op_type == "ArgMax" and _is_along_rows(node, kinds.get(node.input[0])):
            nodes += _ranked(node.input[0], n_changed)
            node.input[0] = nodes[-1].output[0]
            n_changed += 1
        nodes.append(node)
    if n_changed:
        kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del model.graph.node[:]
        model.graph.node.extend(kept)
        constants = {
            "rank_apart": np.array(APART),
            "rank_start": np.array([0], np.int64),
            "rank_places": np.arange(MAX_LENGTH, dtype=np.float64),
        }
        model.graph.initializer.extend(numpy_helper.from_array(one, name) for name, one in constants.items())
    return n_changed


def _is_along_rows(node: NodeProto, kind: "onnx.TypeProto.Tensor | None") -> bool:
    """Whether it takes the first largest integer of each row of a table."""
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return (
        kind is not None
        and kind.elem_type in INTEGERS
        and len(kind.shape.dim) == 2
        and given.get("axis", 0) in (-1, 1)
        and not given.get("select_last_index", 0)
    )


def _ranked(ids: str, number: int) -> list[NodeProto]:
    """(B, L) integers -> (B, L) float64, no two of a row alike; the last node's output."""
    numbers, spread, length, places, ranked = (
        f"rank_{number}_{part}" for part in ("numbers", "spread", "length", "places", "ranked")
    )
    return [
        helper.make_node("Cast", [ids], [numbers], to=TensorProto.DOUBLE),
        helper.make_node("Mul", [numbers, "rank_apart"], [spread]),
        helper.make_node("Shape", [ids], [length], start=1, end=2),
        helper.make_node("Slice", ["rank_places", "rank_start", length, "rank_start"], [places]),  # (L,)
        helper.make_node("Sub", [spread, places], [ranked]),
    ]


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

"""The tiny text tower read at the first largest id of a text, as CLIP's is. Knows no TensorRT."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from diptych.adapters.onnxruntime.encoder import OnnxEncoder
from diptych.bundle.golden import Golden, read_golden, write_golden
from support.tiny_bundle import write_changed_bundle

INTEGERS = frozenset({TensorProto.INT32, TensorProto.INT64})


def write_largest_id_bundle(repo: Path, scratch: Path) -> None:
    """`tiny/1` with such a text tower."""
    write_changed_bundle(repo, scratch, read_at_largest_id)


def read_at_largest_id(folder: Path) -> None:
    """The sum of the tokens up to the first largest id, in the place of the sum of all; golden as well."""
    file = folder / "text_encoder.onnx"
    model = onnx.load(file)
    look_up, _, normalise = model.graph.node
    nodes = [
        look_up,
        helper.make_node("CumSum", [look_up.output[0], "along"], ["sums"]),
        helper.make_node("Cast", ["input_ids"], ["long_ids"], to=TensorProto.INT64),
        helper.make_node("ArgMax", ["long_ids"], ["place"], axis=-1, keepdims=1),
        helper.make_node("GatherND", ["sums", "place"], [normalise.input[0]], batch_dims=1),
        normalise,
    ]
    copied = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copied)
    model.graph.initializer.append(numpy_helper.from_array(np.array(1, np.int64), "along"))
    onnx.checker.check_model(model)
    onnx.save(model, file)
    write_golden(folder / "golden.npz", _golden(folder))


def has_integer_argmax(graph: str | bytes) -> bool:
    """Which CUDA has no kernel for in onnxruntime, and TensorRT may compute wrongly."""
    model = onnx.load_from_string(graph) if isinstance(graph, bytes) else onnx.load(graph)
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {port.name: port.type.tensor_type.elem_type for port in (*inferred.input, *inferred.value_info)}
    return any(node.op_type == "ArgMax" and types.get(node.input[0]) in INTEGERS for node in inferred.node)


def _golden(folder: Path) -> Golden:
    golden = read_golden(folder / "golden.npz")
    encoder = OnnxEncoder(folder / "image_encoder.onnx", folder / "text_encoder.onnx", n_threads=1)
    changed = {"text_embedding": encoder.encode_text(golden.input_ids)}
    return Golden(**(vars(golden) | changed))

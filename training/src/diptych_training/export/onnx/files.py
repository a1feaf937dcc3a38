"""Read and write ONNX files, with or without external data."""

from itertools import chain
from pathlib import Path
from typing import Any

import onnx
from onnx import FunctionProto, GraphProto, ModelProto, TensorProto, inliner
from onnx.external_data_helper import load_external_data_for_model, uses_external_data

MAX_INLINE_BYTES = 1_500_000_000  # protobuf's limit is 2 GiB, and later passes add to the file
MAX_READ_BYTES = 1024  # of a constant that shape inference may read, such as the target shape of a Reshape


def read_graph(path: Path) -> onnx.ModelProto:
    """Read a graph with local functions inlined, the type of every value inferred, and weights in memory."""
    model = onnx.load(path, load_external_data=False)
    if model.functions:
        model = inliner.inline_local_functions(model)
    model = _with_types(model)
    if any(uses_external_data(tensor) for tensor in model.graph.initializer):
        load_external_data_for_model(model, str(path.parent))
    return model


def _with_types(model: onnx.ModelProto) -> onnx.ModelProto:
    """Infer types without the weights: inference serialises the model twice, with a limit of 2 GB."""
    large = [tensor for tensor in model.graph.initializer if len(tensor.raw_data) > MAX_READ_BYTES]
    weights = {tensor.name: tensor.raw_data for tensor in large}
    for tensor in large:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL  # else inference reports a damaged tensor
    model = onnx.shape_inference.infer_shapes(model)
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            tensor.raw_data = weights[tensor.name]
            tensor.data_location = TensorProto.DEFAULT
    return model


def write_graph(model: onnx.ModelProto, path: Path) -> None:
    """Write or replace the file; weights above `MAX_INLINE_BYTES` go to `<file>.data` next to it.

    Weights that go there, and all notes, are removed from `model`.
    """
    remove_notes(model)
    data = path.with_name(f"{path.name}.data")
    data.unlink(missing_ok=True)  # onnx appends to a file that exists
    large = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > MAX_INLINE_BYTES
    onnx.save(model, path, save_as_external_data=large, location=data.name if large else None)


def remove_notes_of_file(path: Path) -> None:
    """Write a file again without notes; weights next to it stay as they are."""
    model = onnx.load(path, load_external_data=False)
    remove_notes(model)
    onnx.save(model, path)


def remove_notes(model: ModelProto) -> None:
    """Remove documentation and metadata, where exporters write stack traces with paths of this machine."""
    _clear_notes(model)
    for body in (model.graph, *model.functions):
        _remove_notes_of_body(body)


def _remove_notes_of_body(body: GraphProto | FunctionProto) -> None:
    _clear_notes(body)
    for described in chain(body.value_info, body.node):
        _clear_notes(described)
    if isinstance(body, GraphProto):
        for described in chain(body.input, body.output, body.initializer):
            _clear_notes(described)
    for attribute in chain.from_iterable(node.attribute for node in body.node):
        attribute.ClearField("doc_string")
        for subgraph in chain([attribute.g] if attribute.HasField("g") else [], attribute.graphs):
            _remove_notes_of_body(subgraph)


def _clear_notes(described: Any) -> None:
    described.ClearField("doc_string")
    described.ClearField("metadata_props")

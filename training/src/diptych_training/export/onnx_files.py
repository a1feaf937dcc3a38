"""Read and write ONNX files, those with external data included; knows nothing of what a graph computes."""

from pathlib import Path

import onnx
from onnx import inliner
from onnx.external_data_helper import load_external_data_for_model, uses_external_data


def has_external_data(path: Path) -> bool:
    """Whether the weights of the graph lie in another file beside it."""
    model = onnx.load(path, load_external_data=False)
    return any(uses_external_data(tensor) for tensor in model.graph.initializer)


def read_graph(path: Path) -> onnx.ModelProto:
    """The graph with local functions inlined, the type of every value inferred, and the weights in memory."""
    model = onnx.load(path, load_external_data=False)
    if model.functions:
        model = inliner.inline_local_functions(model)
    if any(uses_external_data(tensor) for tensor in model.graph.initializer):
        # Types first: inference passes the model on as one message, which ends at 2 GB.
        model = onnx.shape_inference.infer_shapes(model)
        load_external_data_for_model(model, str(path.parent))
        return model
    return onnx.shape_inference.infer_shapes(model)


def write_graph(model: onnx.ModelProto, path: Path, *, external_data: bool) -> None:
    """Write the graph; with `external_data` its weights go to `<file>.data` beside it. Replaces both."""
    data = path.with_name(f"{path.name}.data")
    data.unlink(missing_ok=True)  # onnx appends to a file that exists
    if external_data:
        onnx.save(model, path, save_as_external_data=True, all_tensors_to_one_file=True, location=data.name)
    else:
        onnx.save(model, path)

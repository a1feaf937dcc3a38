"""Store the weights of a float32 graph as float16, at half the size; the graph still computes in float32."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from diptych_training.errors import ExportError
from diptych_training.export.onnx.files import write_graph

MIN_SIZE = 1024  # values; smaller tensors are not worth a Cast


def halve_weights(path: Path) -> None:
    """Rewrite the file: each large matrix, kernel or table becomes float16 with a Cast to float32.

    Runtimes fold casts of constants when they open the file, so the speed is unchanged. The values are
    rounded to 11 bits, so the file must be proven again. Raises ExportError if a value is beyond float16.
    """
    model = onnx.load(path)
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.ndim < 2 or values.size < MIN_SIZE:
            continue
        with np.errstate(over="ignore"):  # checked below
            halves = values.astype(np.float16)
        if not np.isfinite(halves).all():
            raise ExportError(
                f"{path.name}: {tensor.name} has values beyond float16: export without --half-weights"
            )
        cast, kept = tensor.name, f"{tensor.name}.float16"
        tensor.CopyFrom(numpy_helper.from_array(halves, kept))
        casts.append(helper.make_node("Cast", [kept], [cast], name=f"{cast}.cast", to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    write_graph(model, path)

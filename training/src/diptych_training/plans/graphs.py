"""Write a graph of a version as TensorRT is to read it; knows nothing of what it computes."""

from pathlib import Path
from typing import NamedTuple

from diptych.adapters.gpu_argmax import replace_integer_argmax
from diptych.adapters.gpu_graphs import cast_bytes_first
from diptych.errors import BundleError
from diptych_training.errors import ExportError
from diptych_training.export.onnx_files import has_external_data, read_graph, write_graph


class Changed(NamedTuple):
    """What was said otherwise."""

    n_argmax: int  # ArgMax over integers, which TensorRT may compute wrongly
    n_bytes: int  # operators that read bytes, which TensorRT lets Cast alone do


def write_for_tensorrt(source: Path, target: Path, max_length: int) -> Changed:
    """Write the graph at `source` without what TensorRT refuses or computes wrongly.

    `max_length` is the longest row that will come. Raises ExportError naming what cannot be replaced.
    """
    model = read_graph(source)
    try:
        changed = Changed(replace_integer_argmax(model, max_length), cast_bytes_first(model))
    except BundleError as error:
        raise ExportError(f"{source.name}: {error}") from error
    write_graph(model, target, external_data=has_external_data(source))
    return changed

"""Convert a float32 ONNX graph to float16 weights and activations, for GPUs.

Normalisations, softmax and index arithmetic stay in float32 (see `float32_nodes`), as do the graph's inputs
and outputs. Start with `write_fp16`; `simulate` lets a CPU compute what a GPU would.

onnxruntime's own converter (`onnxruntime.transformers.float16`) is not used: it silently clips weights beyond
float16, inserts a float16 round trip between two neighbours that both stay in float32 (115 casts in a
ViT-B/32 where 78 suffice), appends casts out of order, so that the file fails onnx's checker, and importing
it puts a folder with module names such as `optimizer` on `sys.path`.
"""

from pathlib import Path

from diptych_training.export.fp16.convert import convert_to_float16
from diptych_training.export.fp16.float32_nodes import float32_nodes
from diptych_training.export.fp16.graph_values import fold_stored_weights, lift_constants
from diptych_training.export.fp16.simulate import write_float16_simulation
from diptych_training.export.onnx.files import read_graph, write_graph

__all__ = ["write_float16_simulation", "write_fp16"]


def write_fp16(source: Path, target: Path) -> None:
    """Convert the float32 graph at `source`.

    Raises ExportError naming the weight that float16 cannot hold, or the node that cannot be converted.
    """
    model = read_graph(source)
    lift_constants(model.graph)
    fold_stored_weights(model.graph)
    convert_to_float16(model, float32_nodes(model.graph))
    write_graph(model, target)

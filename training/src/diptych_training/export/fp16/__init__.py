"""Write a float32 graph again with float16 weights and activations, for GPUs; knows nothing of towers.

Norms, softmax, the final normalisation and all index arithmetic stay in float32 (see `islands`), and so do
the graph's own inputs and outputs: both files have the same signature.

onnxruntime has a converter of its own (`onnxruntime.transformers.float16`). It is not used: it clips weights
that float16 cannot hold without a word, puts a float16 round trip between two neighbours that are both told
to stay in float32 (115 casts in a ViT-B/32 where 78 do), appends its casts out of order, so that the file
fails onnx's checker, and importing it puts a folder of modules with names such as `optimizer` on `sys.path`.
"""

from pathlib import Path

from diptych_training.export.fp16.convert import halve
from diptych_training.export.fp16.float32_nodes import float32_nodes
from diptych_training.export.fp16.graph_values import fold_casts_of_weights, lift_constants
from diptych_training.export.fp16.simulate import write_rehearsal
from diptych_training.export.onnx.files import read_graph, write_graph

__all__ = ["write_fp16", "write_rehearsal"]


def write_fp16(source: Path, target: Path) -> None:
    """Convert the float32 graph at `source`.

    Raises ExportError naming the weight that float16 cannot hold, or the node that cannot be converted.
    """
    model = read_graph(source)
    lift_constants(model.graph)
    fold_casts_of_weights(model.graph)
    halve(model, float32_nodes(model.graph))
    write_graph(model, target)

"""Convert a graph to float16 except for chosen nodes, with Casts between the two types.

onnxruntime's own converter (`onnxruntime.transformers.float16`) is not used: it silently clips weights beyond
float16, inserts a float16 round trip between two neighbours that both stay in float32 (115 casts in a
ViT-B/32 where 78 suffice), appends casts out of order, so that the file fails onnx's checker, and importing
it puts a folder with module names such as `optimizer` on `sys.path`.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from diptych_training.errors import ExportError
from diptych_training.export.fp16.float32_nodes import (
    constant_names,
    float32_nodes,
    float_names,
    fold_stored_weights,
    lift_constants,
)
from diptych_training.export.onnx.files import read_graph, write_graph

MAX_HALF = float(np.finfo(np.float16).max)  # 65504
MASK_VALUE = float(np.finfo(np.float32).max)  # libraries write attention masks as minus this value
SUFFIX: dict[int, str] = {TensorProto.FLOAT16: "_float16", TensorProto.FLOAT: "_float32"}


def convert_to_float16(model: ModelProto, float32_nodes: set[int]) -> None:
    """Convert in place to float16, except the nodes at the given positions; ports keep their types.

    Raises ExportError naming a weight that float16 cannot hold, or a node with a subgraph.
    """
    _Float16Conversion(model.graph).run(float32_nodes)


class _Float16Conversion:
    """State of one conversion: which values are float, which became float16, which were cast."""

    def __init__(self, graph: GraphProto) -> None:
        self.graph = graph
        self.floats, self.constants = float_names(graph), constant_names(graph)
        self.half: set[str] = set()  # computed values that are float16 now
        self.cast: dict[tuple[str, int], str] = {}  # (value, wanted type) -> its name in that type
        self.nodes: list[NodeProto] = []
        self.used: set[str] = set()

    def run(self, float32_nodes: set[int]) -> None:
        for index, node in enumerate(self.graph.node):
            self._convert(node, index in float32_nodes)
        self._restore_outputs()
        self._convert_weights()
        for port in self.graph.value_info:
            if port.name in self.half:
                port.type.tensor_type.elem_type = TensorProto.FLOAT16
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)

    def _convert(self, node: NodeProto, full: bool) -> None:
        _require_no_subgraphs(node)
        wanted = TensorProto.FLOAT if full else TensorProto.FLOAT16
        for position, name in enumerate(node.input):
            if name in self.floats:
                node.input[position] = self._as(name, wanted)
        self.used.update(node.input)
        if not full:
            self.half.update(name for name in node.output if name in self.floats)
        self.nodes.append(node)

    def _as(self, name: str, wanted: int) -> str:
        """The value's name in the wanted type; adds a Cast on first use."""
        is_half = name in self.half
        if name in self.constants:
            return name if wanted == TensorProto.FLOAT else name + SUFFIX[wanted]
        if is_half == (wanted == TensorProto.FLOAT16):
            return name
        key = (name, wanted)
        if key not in self.cast:
            self.cast[key] = name + SUFFIX[wanted]
            self.nodes.append(helper.make_node("Cast", [name], [self.cast[key]], to=wanted))
        return self.cast[key]

    def _restore_outputs(self) -> None:
        for port in self.graph.output:
            if port.name in self.half:
                inner = port.name + SUFFIX[TensorProto.FLOAT16]
                _rename(self.nodes, port.name, inner)
                self.nodes.append(helper.make_node("Cast", [inner], [port.name], to=TensorProto.FLOAT))
        self.used.update(port.name for port in self.graph.output)

    def _convert_weights(self) -> None:
        weights = [tensor for tensor in self.graph.initializer if tensor.name in self.used]
        for tensor in self.graph.initializer:
            name = tensor.name + SUFFIX[TensorProto.FLOAT16]
            if name in self.used:
                half = _to_half(tensor.name, numpy_helper.to_array(tensor))
                weights.append(numpy_helper.from_array(half, name))
        del self.graph.initializer[:]
        self.graph.initializer.extend(weights)


def _to_half(name: str, values: NDArray[np.float32]) -> NDArray[np.float16]:
    """The weight in float16. The largest float32 value is a mask: it becomes the largest float16."""
    unmasked = np.where(np.abs(values) == MASK_VALUE, np.sign(values) * MAX_HALF, values)
    outside = np.isfinite(unmasked) & (np.abs(unmasked) > MAX_HALF)
    if outside.any():
        worst = float(np.abs(unmasked[outside]).max())
        raise ExportError(
            f"fp16 cannot hold {name}: its largest value is {worst:.6g}, the limit is {MAX_HALF:g}"
        )
    return unmasked.astype(np.float16)


def _require_no_subgraphs(node: NodeProto) -> None:
    if any(attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for attribute in node.attribute):
        raise ExportError(f"fp16 cannot convert {node.op_type} {node.name!r}: it has a subgraph")


def _rename(nodes: Iterable[NodeProto], old: str, new: str) -> None:
    for node in nodes:
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                if name == old:
                    names[position] = new


def write_fp16(source: Path, target: Path) -> None:
    """Convert the float32 graph at `source`.

    Raises ExportError naming the weight that float16 cannot hold, or the node that cannot be converted.
    """
    model = read_graph(source)
    lift_constants(model.graph)
    fold_stored_weights(model.graph)
    convert_to_float16(model, float32_nodes(model.graph))
    write_graph(model, target)

"""Rewrite a float16 graph so that a CPU computes what a GPU would.

onnxruntime's CPU provider has hardly any float16 operators: it runs such a graph in float32 and drops casts
between nodes, so that only the rounding of the weights shows, and overflow of float16 goes unnoticed. In the
simulation all types are float32, and each float16 result is rounded to float16 with plain arithmetic,
overflow included. Sums inside a matrix product stay in float32, as on tensor cores. The simulation is slow,
used only for measuring, and never published.
"""

from pathlib import Path

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from diptych_training.export.onnx.files import read_graph, write_graph

# x * (2^13 + 1) - (x * (2^13 + 1) - x) keeps the first 11 of float32's 24 bits, rounded (Dekker 1971).
SPLIT = 2**13 + 1
OVERFLOW = 65520  # half way between the largest float16 and the next value of its grid
# These operators return some of their input values, which are rounded already.
EXACT_OPERATORS = frozenset(
    {
        "Identity",
        "Expand",
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Slice",
        "Split",
        "Concat",
    }
    | {"Gather", "GatherND", "Pad", "Tile", "Relu", "Max", "Min", "MaxPool", "Where", "Neg", "Abs"}
)


def write_float16_simulation(source: Path, target: Path) -> None:
    """Write the float16 graph at `source` as a float32 graph that rounds like float16."""
    model = read_graph(source)
    _simulate(model.graph)
    write_graph(model, target)


def _simulate(graph: GraphProto) -> None:
    ports = (*graph.value_info, *graph.output)
    half = {port.name for port in ports if port.type.tensor_type.elem_type == TensorProto.FLOAT16}
    _widen_weights(graph)
    nodes = []
    for node in graph.node:
        rounded = [name for name in node.output if name in half and node.op_type not in EXACT_OPERATORS]
        if node.op_type == "Cast" and rounded:
            node.attribute[0].i = TensorProto.FLOAT
        _rename_outputs(node, rounded)
        nodes += [node, *(step for name in rounded for step in _rounding(name))]
    del graph.node[:]
    graph.node.extend(nodes)
    for port in ports:
        if port.name in half:
            port.type.tensor_type.elem_type = TensorProto.FLOAT


def _widen_weights(graph: GraphProto) -> None:
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    constants = {"half_split": SPLIT, "half_overflow": OVERFLOW, "half_infinity": np.inf}
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(v, np.float32), name) for name, v in constants.items()
    )


def _rename_outputs(node: NodeProto, rounded: list[str]) -> None:
    for position, name in enumerate(node.output):
        if name in rounded:
            node.output[position] = f"{name}_exact"


def _rounding(name: str) -> list[NodeProto]:
    """`<name>_exact` in float32 -> `<name>`, rounded to 11 bits, infinite beyond float16's range."""
    exact, wide, rest, bits, size, outside, sign, infinite = (
        f"{name}_{part}" for part in ("exact", "wide", "rest", "bits", "size", "outside", "sign", "infinite")
    )
    return [
        helper.make_node("Mul", [exact, "half_split"], [wide]),
        helper.make_node("Sub", [wide, exact], [rest]),
        helper.make_node("Sub", [wide, rest], [bits]),
        helper.make_node("Abs", [exact], [size]),
        helper.make_node("GreaterOrEqual", [size, "half_overflow"], [outside]),
        helper.make_node("Sign", [exact], [sign]),
        helper.make_node("Mul", [sign, "half_infinity"], [infinite]),
        helper.make_node("Where", [outside, infinite, bits], [name]),
    ]

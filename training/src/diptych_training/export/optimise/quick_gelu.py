"""Replace QuickGELU by SiLU: fold its factor into the weights before and after.

QuickGELU is ``x * sigmoid(1.702 x)`` between two matrix products. With ``y = 1.702 x`` it is
``y * sigmoid(y) / 1.702``: the factor is multiplied into the weights and bias before, its inverse into the
weights after. That saves a pass over the widest activations of a block.
"""

from onnx import ModelProto, NodeProto, TensorProto

from diptych_training.export.onnx.graph import Graph, constant, other, rebuilt, rewired
from diptych_training.export.onnx.linear import Linear, find_linear


def quick_gelu_as_silu(graph: Graph) -> ModelProto | None:
    """The model with SiLU; None if it has no QuickGELU between two products with weights of their own."""
    instead: dict[int, NodeProto] = {}
    constants: list[TensorProto] = []
    for node in graph.nodes:
        factors = _factors(graph, node) if node.op_type == "Sigmoid" else {}
        if factors:
            (gate,) = graph.readers(node.output[0])
            instead[id(node)] = rewired(node, [other(gate, node.output[0])], node.output)
            constants += [constant(name, graph.array(name) * factor) for name, factor in factors.items()]
    if not instead:
        return None
    return rebuilt(graph, [instead.get(id(node), node) for node in graph.nodes], constants)


def _factors(graph: Graph, sigmoid: NodeProto) -> dict[str, float]:
    """The factor for each weight around a gate; empty if the gate is not a QuickGELU."""
    scaling, gate = graph.producer.get(sigmoid.input[0]), graph.only_reader(sigmoid.output[0])
    if scaling is None or gate is None or not scaling.op_type == gate.op_type == "Mul":
        return {}
    x = other(gate, sigmoid.output[0])
    factor = other(scaling, x)
    others = [reader for reader in graph.readers(x) if reader not in (scaling, gate)]
    if x not in scaling.input or others or graph.only_reader(scaling.output[0]) is None:
        return {}
    before, behind = _before(graph, x), graph.only_reader(gate.output[0])
    after = None if behind is None else find_linear(graph, behind)
    if before is None or before.bias is None or after is None or after.source != gate.output[0]:
        return {}
    weights = (before.weight, before.bias, after.weight)
    if x in graph.outputs or any(graph.only_reader(name) is None for name in weights):
        return {}
    value = float(graph.array(factor)) if graph.is_float_constant(factor, rank=0) else 0.0
    return dict(zip(weights, (value, value, 1 / value), strict=True)) if value > 0 else {}


def _before(graph: Graph, x: str) -> Linear | None:
    """The matrix product, with its bias, that computes x."""
    add = graph.producer.get(x)
    producers = [] if add is None else [graph.producer[name] for name in add.input if name in graph.producer]
    linears = [find_linear(graph, node) for node in producers]
    return next((one for one in linears if one is not None and one.target == x), None)

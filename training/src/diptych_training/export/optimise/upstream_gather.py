"""Move the Gather that pools one token before the per-token work of the last block (upstream gather).

A tower that pools at one token (CLIP's class token, or a text's end-of-text token) computes the output
projection and the feed-forward part of its last block for every token, then drops all rows but one. These
operators work on each token alone, so the row can be gathered first: the same sums, with nine twelfths less
work in the last block.
"""

from collections.abc import Sequence

from onnx import ModelProto, NodeProto, helper

from diptych_training.export.onnx.graph import Graph, attributes, rebuilt, rewired

UNARY = frozenset({"Gelu", "Sigmoid", "Relu", "Tanh", "Erf", "HardSwish", "Identity", "Neg"})
BINARY = frozenset({"Add", "Sub", "Mul", "Div"})
TOKEN_RANK = 3  # (B, L, W)


def upstream_gather(graph: Graph) -> ModelProto | None:
    """The model with its pooling moved; None if no matrix product would have fewer rows."""
    for pooling in graph.nodes:
        moved = _movable(graph, pooling) if _is_pooling(graph, pooling) else []
        if any(node.op_type == "MatMul" for node in moved):
            return rebuilt(graph, _pooled_before(graph, pooling, moved), [])
    return None


def _is_pooling(graph: Graph, node: NodeProto) -> bool:
    """`x[:, 0]` is a Gather on axis 1, `x[arange(B), ids.argmax(-1)]` a GatherND by (B, 2) indices."""
    if node.op_type not in ("Gather", "GatherND") or node.input[0] in graph.constants:
        return False
    data, index = (graph.shapes.get(name) for name in node.input)
    if data is None or len(data) != TOKEN_RANK:
        return False
    if node.op_type == "Gather":
        return attributes(node).get("axis", 0) == 1 and index in ((), (1,))
    return attributes(node).get("batch_dims", 0) == 0 and index is not None and index[-1:] == (2,)


def _movable(graph: Graph, pooling: NodeProto) -> list[NodeProto]:
    """The nodes that work on each row alone and whose output only the pooling needs."""
    inside, moved = {id(pooling)}, []
    for node in reversed(graph.nodes):
        readers = {id(reader) for name in node.output for reader in graph.readers(name)}
        needed_inside = readers and readers <= inside and graph.outputs.isdisjoint(node.output)
        if needed_inside and _works_on_rows(graph, node, pooling):
            inside.add(id(node))
            moved.append(node)
    return moved[::-1]


def _works_on_rows(graph: Graph, node: NodeProto, pooling: NodeProto) -> bool:
    def is_weight(name: str, rank: int) -> bool:
        return name in graph.constants and len(graph.shapes[name]) <= rank

    if node.op_type in BINARY:  # a row (W,) meets one token as it meets all
        return all(_has_tokens(graph, name, pooling) or is_weight(name, 1) for name in node.input)
    if not _has_tokens(graph, node.input[0], pooling):
        return False
    if node.op_type == "MatMul":
        return is_weight(node.input[1], 2)
    if node.op_type == "LayerNormalization":
        return attributes(node).get("axis", -1) in (-1, TOKEN_RANK - 1)
    return node.op_type in UNARY


def _has_tokens(graph: Graph, name: str, pooling: NodeProto) -> bool:
    """True if the value is (B, L, W) with the B and L of the pooled value."""
    shape = graph.shapes.get(name, ())
    same = shape[:2] == graph.shapes[pooling.input[0]][:2]
    return name not in graph.constants and len(shape) == TOKEN_RANK and same


def _pooled_before(graph: Graph, pooling: NodeProto, moved: Sequence[NodeProto]) -> list[NodeProto]:
    inner = {node.output[0] for node in moved}
    row = {moved[-1].output[0]: pooling.output[0]}  # the name of a value's pooled row
    poolings, rows = {}, []
    for node in moved:
        for name in node.input:
            if name not in inner and _has_tokens(graph, name, pooling):
                row[name] = f"{name}_pooled"
                inputs = [name, pooling.input[1]]
                poolings[name] = helper.make_node(
                    pooling.op_type, inputs, [row[name]], name=row[name], **attributes(pooling)
                )
        normalised = {"axis": -1} if node.op_type == "LayerNormalization" else {}  # one axis less
        outputs = [row.get(name, name) for name in node.output]
        rows.append(rewired(node, [row.get(name, name) for name in node.input], outputs, **normalised))
    gone = {id(node) for node in moved}
    place = graph.nodes.index(pooling)
    before = [node for node in graph.nodes[:place] if id(node) not in gone]
    return [*before, *poolings.values(), *rows, *graph.nodes[place + 1 :]]

"""Clear a graph of what nobody reads any more; knows nothing of why."""

from onnx import GraphProto


def drop_unread(graph: GraphProto) -> None:
    """Nodes and weights whose values nobody reads any more."""
    ends = {port.name for port in graph.output}
    while True:
        read = ends | {name for node in graph.node for name in node.input}
        kept = [node for node in graph.node if any(name in read for name in node.output)]
        if len(kept) == len(graph.node):
            break
        del graph.node[:]
        graph.node.extend(kept)
    weights = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(weights)

"""Token embeddings in int8 with a scale for each row; knows nothing of other layers."""

from onnx import TensorProto
from onnx.helper import make_node

from diptych_training.export.int8.layers import Table
from diptych_training.export.int8.scales import quantised_rows
from diptych_training.export.onnx.graph import Graph, Rewrite, constant


def table_rewrite(graph: Graph, site: Table) -> Rewrite:
    """Rows of codes are gathered and multiplied by their scales: a quarter of the bytes, the same pace."""
    node = graph.node[site.name]
    codes, scales = quantised_rows(graph.array(node.input[0]))  # (V, W), (V, 1)
    p, ids = f"{site.name}/int8", node.input[1]
    nodes = (
        make_node("Gather", [f"{p}/table", ids], [f"{p}/codes"], name=f"{p}/codes", axis=0),
        make_node("Cast", [f"{p}/codes"], [f"{p}/floats"], name=f"{p}/floats", to=TensorProto.FLOAT),
        make_node("Gather", [f"{p}/scales", ids], [f"{p}/scale"], name=f"{p}/scale", axis=0),
        make_node("Mul", [f"{p}/floats", f"{p}/scale"], [node.output[0]], name=f"{p}/rows"),
    )
    constants = (constant(f"{p}/table", codes), constant(f"{p}/scales", scales))
    return Rewrite(frozenset([site.name]), nodes, constants)

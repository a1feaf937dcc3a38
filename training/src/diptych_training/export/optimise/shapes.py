"""The shapes of a graph's values as far as they are known; infers nothing itself."""

from itertools import chain

from onnx import GraphProto, ValueInfoProto

Shape = tuple[int | str, ...]


def shapes_of(graph: GraphProto) -> dict[str, Shape]:
    """Shape of each weight and of each value that inference has reached: sizes, or names of dynamic ones.

    A size without a name gets one of its own, so that it equals no other.
    """
    ports = chain(graph.input, graph.value_info, graph.output)
    computed = {port.name: _port_shape(port) for port in ports if port.type.tensor_type.HasField("shape")}
    return computed | {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}


def _port_shape(port: ValueInfoProto) -> Shape:
    sizes = port.type.tensor_type.shape.dim
    return tuple(
        size.dim_value if size.HasField("dim_value") else size.dim_param or f"{port.name}[{axis}]"
        for axis, size in enumerate(sizes)
    )

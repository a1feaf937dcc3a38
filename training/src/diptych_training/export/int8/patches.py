"""The patch embedding of a vision transformer, read straight from the pixels; knows nothing of other layers.

A convolution whose stride is its kernel is a matrix product over patches, and its input is 8 bits already:
with ``(pixel * gain + offset)`` folded into weights and bias, the activations carry no rounding at all.
"""

from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, TensorProto
from onnx.helper import make_node

from diptych_training.export.int8.graph import CONTRIB, Floats, Graph, Rewrite, attributes, constant
from diptych_training.export.int8.scales import quantised_columns

MIDDLE = 128  # pixels are counted from here, so that the rounding of the weights does not add up over a patch


@dataclass(frozen=True)
class Patches:
    """``pixels (B, S, S, 3) uint8 -> Cast -> * gain -> + offset -> Transpose -> Conv``, stride = kernel."""

    name: str
    pixels: str
    size: int  # S
    edge: int  # of a patch, px
    gain: Floats  # (3,)
    offset: Floats  # (3,)


def find_patches(graph: Graph, conv: NodeProto) -> Patches | None:
    """The patch embedding that a convolution is, or None."""
    kernel = graph.constants[conv.input[1]].dims  # (N, 3, edge, edge)
    options = attributes(conv)
    plain = (
        list(options.get("strides", [1, 1])) == list(kernel[2:])  # type: ignore[call-overload]
        and kernel[2] == kernel[3]
        and not any(options.get("pads", [0]))  # type: ignore[arg-type]
        and options.get("group", 1) == 1
        and set(options.get("dilations", [1])) == {1}  # type: ignore[call-overload]
        and options.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
    )
    layout = graph.producer.get(conv.input[0])
    if not plain or layout is None or layout.op_type != "Transpose":
        return None
    if attributes(layout).get("perm") != [0, 3, 1, 2]:
        return None
    added, offset = _operand(graph, layout.input[0], "Add")
    scaled, gain = _operand(graph, added, "Mul")
    cast = graph.producer.get(scaled)
    if offset is None or gain is None or cast is None or cast.op_type != "Cast":
        return None
    return _from_pixels(graph, conv, cast.input[0], gain, offset)


def patch_rewrite(graph: Graph, site: Patches) -> Rewrite:
    """One product of uint8 patches and int8 weights in the place of the convolution."""
    conv = graph.node[site.name]
    kernel = graph.array(conv.input[1])  # (N, 3, edge, edge)
    bias = graph.array(conv.input[2]) if len(conv.input) > 2 else np.zeros(len(kernel), np.float32)
    folded = (kernel * site.gain[:, None, None]).transpose(2, 3, 1, 0).reshape(-1, len(kernel))  # (K, N)
    weight, scales = quantised_columns(np.ascontiguousarray(folded))
    moved = (site.offset + MIDDLE * site.gain).astype(np.float64)  # what a pixel of 128 becomes
    bias = bias + (kernel * moved[:, None, None]).sum(axis=(1, 2, 3)).astype(np.float32)
    grid, edge, width, p = site.size // site.edge, site.edge, len(kernel), f"{site.name}/int8"
    cut = f"{p}/cut" if grid * edge != site.size else site.pixels
    nodes = [
        make_node("Reshape", [cut, f"{p}/cells"], [f"{p}/grid"], name=f"{p}/grid"),
        make_node("Transpose", [f"{p}/grid"], [f"{p}/tiles"], name=f"{p}/tiles", perm=[0, 1, 3, 2, 4, 5]),
        make_node("Reshape", [f"{p}/tiles", f"{p}/rows"], [f"{p}/patches"], name=f"{p}/patches"),
        make_node(
            "MatMulIntegerToFloat",
            [f"{p}/patches", f"{p}/weight", f"{p}/one", f"{p}/scales", f"{p}/zero", "", f"{p}/bias"],
            [f"{p}/product"],
            name=f"{p}/product",
            domain=CONTRIB,
        ),  # (B, grid * grid, N)
        make_node("Transpose", [f"{p}/product"], [f"{p}/planes"], name=f"{p}/planes", perm=[0, 2, 1]),
        make_node("Reshape", [f"{p}/planes", f"{p}/map"], [conv.output[0]], name=f"{p}/map"),
    ]
    constants = [
        constant(f"{p}/cells", np.array([-1, grid, edge, grid, edge, 3])),
        constant(f"{p}/rows", np.array([-1, grid * grid, edge * edge * 3])),
        constant(f"{p}/map", np.array([-1, width, grid, grid])),
        constant(f"{p}/weight", weight),
        constant(f"{p}/one", np.float32(1)),
        constant(f"{p}/scales", scales),
        constant(f"{p}/zero", np.uint8(MIDDLE)),
        constant(f"{p}/bias", bias.astype(np.float32)),
    ]
    if cut != site.pixels:
        # A convolution leaves out the pixels that do not fill a patch.
        nodes.insert(
            0, make_node("Slice", [site.pixels, f"{p}/from", f"{p}/to", f"{p}/axes"], [cut], name=cut)
        )
        constants += [
            constant(f"{p}/from", np.array([0, 0])),
            constant(f"{p}/to", np.array([grid * edge, grid * edge])),
            constant(f"{p}/axes", np.array([1, 2])),
        ]
    return Rewrite(frozenset([site.name]), tuple(nodes), tuple(constants))


def _operand(graph: Graph, name: str, op_type: str) -> tuple[str, Floats | None]:
    """The variable input of a node that adds or multiplies a constant (3,), and that constant."""
    node = graph.producer.get(name)
    if node is None or node.op_type != op_type:
        return "", None
    known = [other for other in node.input if other in graph.constants]
    if len(known) != 1 or list(graph.constants[known[0]].dims) != [3]:
        return "", None
    return next(other for other in node.input if other != known[0]), graph.array(known[0])


def _from_pixels(graph: Graph, conv: NodeProto, pixels: str, gain: Floats, offset: Floats) -> Patches | None:
    if pixels not in graph.inputs:
        return None
    tensor = graph.inputs[pixels].type.tensor_type
    size = tensor.shape.dim[1].dim_value
    square = len(tensor.shape.dim) == 4 and size > 0 and tensor.shape.dim[2].dim_value == size
    if tensor.elem_type != TensorProto.UINT8 or not square:
        return None
    return Patches(conv.name, pixels, size, graph.constants[conv.input[1]].dims[2], gain, offset)

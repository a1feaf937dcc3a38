"""Embed patches by one matrix product on the raw pixels, not by a convolution; knows nothing of what follows.

A vision transformer begins with a convolution whose kernel is its stride: each patch is seen once, so the
convolution is a product of the patches (B, N, P) with a matrix (P, W). The product needs no float copy of the
image in another layout, bytes are moved instead of floats, and the scaling of pixels goes into its weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from diptych_training.export.optimise.shapes import Shape, shapes_of

CHANNELS_FIRST = [0, 3, 1, 2]
MIDDLE = 128.0  # pixels around zero: their products stay small beside the bias, in float16 as well

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class _Patches:
    """A convolution over patches with all that goes into the product: pixels * gain + offset, if they are."""

    nodes: tuple[NodeProto, ...]  # what the product replaces, in the graph's order
    pixels: str  # (B, H, W, C) uint8
    target: str  # (B, N, W)
    kernels: Floats  # (W, C, kh, kw)
    bias: Floats  # (W,)
    gain: Floats  # (C,)
    offset: Floats  # (C,)
    grid: tuple[int, int]


def patches_by_product(graph: GraphProto) -> int:
    """Rewrite in place; gives how many convolutions are gone. The graph's shapes have been inferred."""
    reader = _Reader(graph)
    found = [patches for node in graph.node if (patches := reader.patches(node)) is not None]
    for index, patches in enumerate(found):
        _replace(graph, patches, f"patches_{index}")
    if found:
        read = {name for node in graph.node for name in node.input}
        kept = [tensor for tensor in graph.initializer if tensor.name in read]
        del graph.initializer[:]
        graph.initializer.extend(kept)
        del graph.value_info[:]
    return len(found)


class _Reader:
    """What is known of a graph's values, and who makes and reads them."""

    def __init__(self, graph: GraphProto) -> None:
        self._shapes: dict[str, Shape] = shapes_of(graph)
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._pixels = {
            port.name for port in graph.input if port.type.tensor_type.elem_type == TensorProto.UINT8
        }
        self._makers = {name: node for node in graph.node for name in node.output}
        self._outputs = {port.name for port in graph.output}
        self._readers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def patches(self, convolution: NodeProto) -> _Patches | None:
        """What begins with pixels and ends in rows of patches around this convolution, or None."""
        if convolution.op_type != "Conv" or not all(name in self._weights for name in convolution.input[1:]):
            return None
        kernels = self._floats(convolution.input[1])
        layout = self._maker(convolution.input[0], "Transpose")
        rows = self._rows(convolution)
        if kernels.ndim != 4 or layout is None or rows is None or _perm(layout) != CHANNELS_FIRST:
            return None
        scaling = self._scaling(layout.input[0], kernels.shape[1])
        grid = self._grid(layout.input[0], convolution, kernels.shape[2:])
        if scaling is None or grid is None:
            return None
        pixels, gain, offset, scaled = scaling
        biased = len(convolution.input) > 2
        bias = self._floats(convolution.input[2]) if biased else np.zeros(len(kernels), np.float32)
        nodes = (*scaled, layout, convolution, *rows)
        return _Patches(nodes, pixels, rows[-1].output[0], kernels, bias, gain, offset, grid)

    def _rows(self, convolution: NodeProto) -> tuple[NodeProto, NodeProto] | None:
        """The Reshape (B, W, h, w) -> (B, W, N) and the Transpose -> (B, N, W) behind a convolution."""
        flat = self._reader(convolution.output[0], "Reshape")
        turned = None if flat is None else self._reader(flat.output[0], "Transpose")
        if flat is None or turned is None or _perm(turned) != [0, 2, 1]:
            return None
        before = self._shapes.get(convolution.output[0], ())
        after = self._shapes.get(flat.output[0], ())
        if len(before) != 4 or len(after) != 3 or after[1] != before[1]:
            return None
        return flat, turned

    def _grid(self, image: str, node: NodeProto, kernel: Sequence[int]) -> tuple[int, int] | None:
        """Patches down and across, where they tile the image without a rest, a margin or an overlap."""
        options = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        (height, width), size = self._shapes.get(image, (0,) * 4)[1:3], list(kernel)
        tiles = (
            list(options.get("strides", [1, 1])) == size
            and not any(options.get("pads", []))
            and options.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
            and options.get("group", 1) == 1
            and all(step == 1 for step in options.get("dilations", []))
        )
        if not tiles or not isinstance(height, int) or not isinstance(width, int):
            return None
        if not height or height % size[0] or width % size[1]:
            return None
        return height // size[0], width // size[1]

    def _scaling(
        self, image: str, n_channels: int
    ) -> tuple[str, Floats, Floats, tuple[NodeProto, ...]] | None:
        """uint8 pixels, gain and offset (C,) of ``image = float(pixels) * gain + offset``, and its nodes."""
        add = self._maker(image, "Add")
        multiply = None if add is None else self._maker(add.input[0], "Mul")
        cast = None if multiply is None else self._maker(multiply.input[0], "Cast")
        if add is None or multiply is None or cast is None or cast.input[0] not in self._pixels:
            return None
        gain, offset = (self._channels(node.input[1], n_channels) for node in (multiply, add))
        if gain is None or offset is None:
            return None
        return cast.input[0], gain, offset, (cast, multiply, add)

    def _channels(self, name: str, n_channels: int) -> Floats | None:
        if name not in self._weights:
            return None
        values = self._floats(name)
        return np.broadcast_to(values, (n_channels,)) if values.size in (1, n_channels) else None

    def _floats(self, name: str) -> Floats:
        return numpy_helper.to_array(self._weights[name]).astype(np.float32, copy=False)

    def _maker(self, name: str, operator: str) -> NodeProto | None:
        """What makes a value that nobody else reads, if it is this operator."""
        node = self._makers.get(name)
        alone = len(self._readers.get(name, [])) == 1 and name not in self._outputs
        return node if alone and node is not None and node.op_type == operator else None

    def _reader(self, name: str, operator: str) -> NodeProto | None:
        """The only reader of a value, if it is this operator."""
        readers = self._readers.get(name, [])
        alone = len(readers) == 1 and name not in self._outputs
        return readers[0] if alone and readers[0].op_type == operator else None


def _replace(graph: GraphProto, patches: _Patches, name: str) -> None:
    weights, bias = _product(patches)
    (down, across), (_, n_channels, height, width) = patches.grid, patches.kernels.shape
    cells = np.array([0, down, height, across, width * n_channels])  # 0: B
    rows = np.array([0, down * across, height * width * n_channels])
    constants = {"cells": cells, "rows": rows, "weights": weights, "bias": bias}
    constants["middle"] = np.array(-MIDDLE, np.float32)
    graph.initializer.extend(
        numpy_helper.from_array(value, f"{name}_{key}") for key, value in constants.items()
    )

    def node(operator: str, inputs: list[str], key: str, **attributes: Any) -> NodeProto:
        made = f"{name}_{key}"
        return helper.make_node(operator, inputs, [made], name=made, **attributes)

    nodes = [
        node("Reshape", [patches.pixels, f"{name}_cells"], "split"),
        node("Transpose", [f"{name}_split"], "gathered", perm=[0, 1, 3, 2, 4]),  # bytes, not yet floats
        node("Reshape", [f"{name}_gathered", f"{name}_rows"], "codes"),
        node("Cast", [f"{name}_codes"], "values", to=TensorProto.FLOAT),
        node("Add", [f"{name}_values", f"{name}_middle"], "centred"),
        node("MatMul", [f"{name}_centred", f"{name}_weights"], "product"),
        node("Add", [f"{name}_product", f"{name}_bias"], "embedded"),
    ]
    nodes[-1].output[0] = patches.target
    gone = {id(one) for one in patches.nodes}
    place = next(index for index, one in enumerate(graph.node) if id(one) in gone)
    before = [one for one in graph.node[:place] if id(one) not in gone]
    after = [one for one in graph.node[place:] if id(one) not in gone]
    rewritten = [*before, *nodes, *after]
    del graph.node[:]
    graph.node.extend(rewritten)


def _product(patches: _Patches) -> tuple[Floats, Floats]:
    """The matrix (P, W) and the bias (W,) for pixels less MIDDLE; summed in float64, as they are kept."""
    kernels = patches.kernels.astype(np.float64)
    by_channel = kernels.sum(axis=(2, 3))  # (W, C)
    bias = patches.bias + by_channel @ (patches.offset + MIDDLE * patches.gain)
    scaled = kernels * patches.gain[:, None, None]
    matrix = scaled.transpose(2, 3, 1, 0).reshape(-1, len(kernels))  # rows as pixels lie: y, x, channel
    return matrix.astype(np.float32), bias.astype(np.float32)


def _perm(node: NodeProto) -> list[int]:
    return [value for attribute in node.attribute if attribute.name == "perm" for value in attribute.ints]

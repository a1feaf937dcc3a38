"""Store weights as float16, at half the size, and each tensor once: in a graph or in `weights.safetensors`.

A float32 graph casts them and still computes in float32. A tensor of the model that a graph computes with is
stored there under its own name, and left out of `weights.safetensors`, whose metadata states such tensors:
graph file -> name of an initialiser, which is that of the tensor -> CRC-32 of its bytes.
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from safetensors import SafetensorError, safe_open
from torch import Tensor

from diptych_training.checkpoint import write_tensors
from diptych_training.errors import ExportError, ImportFailed
from diptych_training.export.onnx.files import write_graph
from diptych_training.export.onnx.graph import Floats

MIN_SIZE = 1024  # values; smaller tensors are not worth a Cast
EXACT = 1e-6  # relative error of a product in float32

Halves = NDArray[np.float16]


@dataclass(frozen=True)
class _Stored:
    """A weight of the graph as a tensor in float16, multiplied by `factors` (O, 1, ...), then transposed."""

    name: str
    halves: Halves
    factors: Floats | None = None
    transposed: bool = False


def halve_weights(path: Path, tensors: Mapping[str, Halves]) -> set[str]:
    """Rewrite the file: each large matrix, kernel or table becomes float16 with a Cast to float32.

    `tensors`: those of the model by name. The graph may use one transposed, or with a factor for each output,
    as from a folded batch norm. Returns the names of those that it now holds, to the bit. Runtimes fold
    casts, factors and transpositions of constants when they open the file, so the speed is unchanged. Other
    weights are rounded to 11 bits, so the file must be proven again. Raises ExportError if a value is beyond
    float16.
    """
    model = onnx.load(path)
    graph = model.graph
    kept, stored, nodes = list[TensorProto](), dict[str, Halves](), list[NodeProto]()
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.ndim < 2 or values.size < MIN_SIZE:
            kept.append(tensor)
            continue
        found = _find(values, tensors) or _rounded(path, tensor.name, values)
        stored[found.name] = found.halves
        nodes += _computed(found, tensor.name)
        if found.factors is not None:
            kept.append(numpy_helper.from_array(found.factors, _factors_of(tensor.name)))
    nodes += graph.node
    kept += [numpy_helper.from_array(halves, name) for name, halves in stored.items()]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    write_graph(model, path)
    return stored.keys() & tensors.keys()


def _rounded(path: Path, name: str, values: Floats) -> _Stored:
    with np.errstate(over="ignore"):  # checked below
        halves = values.astype(np.float16)
    if not np.isfinite(halves).all():
        raise ExportError(f"{path.name}: {name} has values beyond float16: export with --no-half-weights")
    return _Stored(f"{name}.float16", halves)


def _find(values: Floats, tensors: Mapping[str, Halves]) -> _Stored | None:
    """The tensor of the model that a weight is made of, if there is one."""
    for name, halves in tensors.items():
        for transposed in (False, True):
            own = values.T if transposed else values
            factors = _factors(own, halves) if own.shape == halves.shape else None
            if factors is not None:
                return _Stored(name, halves, None if (factors == 1).all() else factors, transposed)
    return None


def _factors(values: Floats, halves: Halves) -> Floats | None:
    """(O, 1, ...) such that ``values = factors * halves``; None if there are none."""
    if len(values) > 1 and _factors(values[:1], halves[:1]) is None:  # most are told apart by their first row
        return None
    rows, sources = (each.reshape(len(each), -1).astype(np.float32) for each in (values, halves))
    at = np.abs(sources).argmax(axis=1, keepdims=True)
    largest = np.take_along_axis(sources, at, axis=1)
    factors = np.take_along_axis(rows, at, axis=1) / np.where(largest == 0, 1, largest)
    if not np.allclose(factors * sources, rows, rtol=EXACT, atol=0):
        return None
    return factors.astype(np.float32).reshape(-1, *[1] * (values.ndim - 1))


def _computed(stored: _Stored, target: str) -> list[NodeProto]:
    """The nodes that make the float32 weight `target` of what is stored."""
    further = {"Mul": [_factors_of(target)]}
    operators = ["Cast"] + ["Mul"] * (stored.factors is not None) + ["Transpose"] * stored.transposed
    values = [stored.name, *(f"{target}.{operator}" for operator in operators[:-1]), target]
    nodes = [
        helper.make_node(
            operator, [source, *further.get(operator, [])], [made], name=f"{target}.{operator.lower()}"
        )
        for operator, source, made in zip(operators, values[:-1], values[1:], strict=True)
    ]
    nodes[0].attribute.append(helper.make_attribute("to", TensorProto.FLOAT))
    return nodes


def _factors_of(target: str) -> str:
    return f"{target}.factors"


HELD = "held_by_graphs"  # key of the metadata
HALF = "F16"  # as safetensors names float16


def write_weights_not_in_graphs(
    path: Path, weights: Mapping[str, Tensor], held: Mapping[str, set[str]]
) -> None:
    """Write the tensors that no graph holds. `held`: names of tensors by the graph file that holds them."""
    stated = {
        file: {name: _checksum(weights[name]) for name in sorted(names)} for file, names in held.items()
    }
    left = {
        name: tensor for name, tensor in weights.items() if not any(name in names for names in held.values())
    }
    write_tensors(path, left, {"format": "pt", HELD: json.dumps(stated)})


def is_half_stored(path: Path) -> bool:
    """Whether the file of weights is of a version that was exported with half weights; False if it cannot be
    read.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            if HELD in (opened.metadata() or {}):
                return True
            names: list[str] = opened.keys()
            return any(opened.get_slice(name).get_dtype() == HALF for name in names)
    except (SafetensorError, OSError):
        return False


def read_held_weights(path: Path, stated: str) -> dict[str, Tensor]:
    """The tensors that graphs next to `path` hold; `stated` is the entry of its metadata.

    Raises ImportFailed naming the graph, and the tensor that it lacks or holds with other values.
    """
    return {
        name: tensor
        for file, checksums in json.loads(stated).items()
        for name, tensor in _read(path, path.parent / Path(file).name, checksums)
    }


def _read(path: Path, graph: Path, checksums: Mapping[str, int]) -> Iterator[tuple[str, Tensor]]:
    found = _initialisers(path, graph, checksums)
    for name, checksum in checksums.items():
        if name not in found:
            raise ImportFailed(f"{graph} lacks {name}, which {path.name} leaves to it")
        tensor = torch.from_numpy(numpy_helper.to_array(found[name], str(graph.parent)).copy())
        if _checksum(tensor) != checksum:
            raise ImportFailed(
                f"{graph} was altered: {name}, which {path.name} leaves to it, has other values"
            )
        yield name, tensor


def _initialisers(path: Path, graph: Path, names: Mapping[str, int]) -> dict[str, onnx.TensorProto]:
    try:
        model = onnx.load(graph)
    except Exception as error:  # onnx's and protobuf's errors share no base class
        raise ImportFailed(
            f"{graph} cannot be read, and holds {len(names)} tensors of {path.name}, such as "
            f"{next(iter(names))}: {error}"
        ) from error
    return {tensor.name: tensor for tensor in model.graph.initializer}


def _checksum(tensor: Tensor) -> int:
    return zlib.crc32(tensor.contiguous().numpy().tobytes())
